"""What a source hands over."""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path


class Extent(Enum):
    """How much of the video a fetched file holds."""

    WHOLE = auto()
    """All of it, from its start."""
    SECTION = auto()
    """Some seconds around the wanted ones; time stamps count from the whole video's start."""
    CLIP = auto()
    """Exactly the clip, trimmed by somebody before."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A video file from a source, not yet trusted."""

    path: Path
    extent: Extent
    borrowed: bool = False
    """It is the user's own file: to be linked or copied (`preprocess.linking`), never moved, changed or deleted."""
