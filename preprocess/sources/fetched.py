"""What a source hands over."""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.media import probe

LENGTH_SLACK = 0.15
"""Share by which a trimmed clip's declared length may differ from the wanted seconds: published ones of 10 seconds,
cut at key frames, hold up to 11.1."""


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


def extent_by_length(path: Path, clip: Clip) -> Extent:
    """What a file called by the id alone is: `WHOLE`, or else `CLIP`, trimmed by a tool that names clips so.

    It is the clip when it is too short to hold half the wanted seconds and about as long as they are.

    Raises:
        BadMedia: no video.
    """
    declared_s, _, _ = probe(path)
    wanted_s = clip.time_end - clip.time_start
    reaches = declared_s >= clip.time_start + wanted_s / 2
    is_clip = not reaches and abs(declared_s - wanted_s) <= LENGTH_SLACK * wanted_s
    return Extent.CLIP if is_clip else Extent.WHOLE
