"""The data set card: which Kinetics a folder of clips holds, as `card.json` and `card.md`.

Two people who compare the short hashes at its head know whether they train on the same clips. A card says nothing of
when or where it was written, so an unchanged folder gives equal bytes.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from preprocess.annotations import ListSource
from preprocess.typed_json import read_document

CARD_NAME = "card.json"
CARD_PAGE_NAME = "card.md"
_FORMAT = "kineflow-card"
_VERSION = 1
_SPLIT_ORDER = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What two people compare, each a sha256 over sorted lines with a newline after each."""

    wanted: str
    """Lines `key`, of every wanted clip."""
    usable: str
    """Lines `key`, of every usable clip."""
    usable_by_split: dict[str, str]
    """The same, of each split alone."""
    labels: str
    """Lines `key split label`, with tabs between, of every usable clip."""
    files: str | None
    """Lines `key sha256`, with a blank between, of every usable clip; None where a clip's file was never hashed."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """From the rows of the lists to wanted clips: `listed == refused + not_selected + wanted`."""

    listed: int
    refused: int
    """Rows that are no clips."""
    not_selected: int
    """Clips that the run was told to leave out, by split, class or limit."""
    wanted: int


@dataclass(frozen=True, kw_only=True)
class SplitCount:
    """Clips of one split: `wanted` and `missing` as the list sorts them, `usable` as they lie in the folder."""

    wanted: int
    usable: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class ClassSplit:
    """Clips of one class in one split."""

    wanted: int
    usable: int
    keys: str
    """First 12 digits of the sha256 over the sorted keys of the usable ones: two cards alone can be compared."""


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """Clips of one class."""

    label: str | None
    """None for clips of lists without labels."""
    splits: dict[str, ClassSplit]


@dataclass(frozen=True, kw_only=True)
class MissingCount:
    """Wanted clips that are not there for one and the same reason."""

    outcome: str
    """A word of `preprocess.outcomes.Outcome`, or `not_tried`."""
    cause: str
    """A word of `preprocess.errors.Cause`, or empty."""
    clips: int
    example_key: str
    """The first of them by key."""
    example: str
    """What its source said."""


@dataclass(frozen=True, kw_only=True)
class RefusedCount:
    """Rows of the lists refused for reasons that differ in their values only."""

    rows: int
    example: str
    """Reason of the first of them."""
    example_line: int
    """Its line, from 1."""
    example_list: str
    """File name of its list."""


@dataclass(frozen=True, kw_only=True)
class Unlisted:
    """Clips of earlier runs that the list does not ask for."""

    usable: int
    """Counted as usable everywhere, since `preprocess flow` takes them."""
    missing: int
    """Counted nowhere else."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many usable clips have a property."""

    value: str
    clips: int


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Usable clips with stretches of two seconds or more of still or black picture."""

    clips: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the usable clips amount to, as found by decoding each once."""

    seconds: float
    frames: int
    bytes: int
    frame_sizes: tuple[Share, ...]
    """Width x height, the most frequent ones and `other`."""
    frame_rates: tuple[Share, ...]
    """Frames a second, likewise."""
    sources: tuple[Share, ...]
    """Where from: youtube, mirror, directory, url."""
    frozen: Stretches
    black: Stretches


@dataclass(frozen=True, kw_only=True)
class Card:
    """The whole card."""

    dataset: str | None
    """Such as `kinetics400`; None for a list of one's own."""
    from_list: bool
    """False where the folder has no `list.json`: what is wanted is then what the manifest names."""
    lists: tuple[ListSource, ...]
    identity: Identity
    rows: Rows
    splits: dict[str, SplitCount]
    classes: tuple[ClassCount, ...]
    """Sorted by label."""
    missing: tuple[MissingCount, ...]
    """Most frequent first."""
    refused: tuple[RefusedCount, ...]
    """Most frequent first."""
    unlisted: Unlisted
    moved: int
    """Usable clips that the list puts into another split or class than the folder does."""
    content: Content

    @property
    def usable(self) -> int:
        """Clips that can be trained on."""
        return sum(count.usable for count in self.splits.values())

    @property
    def adds_up(self) -> bool:
        """Every row of the lists is refused, left out, usable or missing for a counted reason."""
        missing = sum(count.clips for count in self.missing)
        wanted_and_usable = self.usable - self.unlisted.usable
        return (
            self.rows.listed == self.rows.refused + self.rows.not_selected + wanted_and_usable + missing
            and self.rows.wanted == wanted_and_usable + missing == sum(s.wanted for s in self.splits.values())
            and self.rows.refused == sum(count.rows for count in self.refused)
            and missing == sum(s.missing for s in self.splits.values())
            and min(asdict(self.rows).values()) >= 0
        )

    def to_json(self) -> str:
        """The text of `card.json`."""
        document = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def read(cls, path: Path, *, read: Callable[[Path], bytes] = Path.read_bytes) -> "Card":
        """The card in the file `path`.

        Args:
            path: of the file.
            read: gives its bytes, or raises OSError.

        Raises:
            InvalidInput: no such file, no card, damaged, or of another version.
        """
        return read_document(
            cls,
            path,
            format_=_FORMAT,
            version=_VERSION,
            name="data set card",
            remedy=f"`preprocess card CLIPS` makes CLIPS/{CARD_NAME}",
            read=read,
        )


def short(digest: str | None) -> str:
    """The first 12 digits of a hash, which is what people compare; `not known` where there is none."""
    return digest[:12] if digest else "not known"


def ordered_splits(splits: Iterable[str]) -> list[str]:
    """Train, val, test, then whatever else there is, by name."""
    return sorted(
        splits, key=lambda split: (_SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER), split)
    )
