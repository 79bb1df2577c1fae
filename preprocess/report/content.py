"""What a report says, as `report.json`: figures of all clips, of each split and of each class.

A report says nothing of when or where it was made, so equal shards and options give equal bytes. Shares are 0 to 1.
Speeds are in pixels a frame. What was measured on a sample of the clips says how many there were.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.typed_json import read_document

_FORMAT = "kineflow-report"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is looked at closely; tables of all clips are always read whole."""

    clips: int = 2000
    """Clips that are decoded, 1 to 100,000: each clip of the data set is drawn with the same chance, and from each
    class of each split as many as its share is, give or take one."""
    frames: int = 8
    """Flow fields of a clip that are measured pixel by pixel, evenly spaced, 1 to 1000."""
    per_class: int = 3
    """Clips of each class that are shown, 0 to 50."""
    seed: int = 0
    """Of the draw, 0 or more."""

    def __post_init__(self) -> None:
        for name, low, high in (("clips", 1, 100_000), ("frames", 1, 1000), ("per_class", 0, 50), ("seed", 0, 2**63)):
            if not low <= getattr(self, name) <= high:
                raise InvalidInput(f"{name} of a report is {low} to {high}, got {getattr(self, name)}")


class Verdict(StrEnum):
    """Whether the bound of the stored flow fits the motion."""

    RIGHT = "right"
    TIGHT = "tight"
    """It clips more than a thousandth, still less than a hundredth."""
    TOO_LOW = "too_low"
    WIDE = "wide"
    """Half of it would clip next to nothing."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts in bins of equal width."""

    first: float
    """Lower edge of the first bin."""
    step: float
    """Width of a bin."""
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How some values, at least one, are spread."""

    smallest: float
    median: float
    mean: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many clips have a property."""

    value: str
    clips: int


@dataclass(frozen=True, kw_only=True)
class ClipName:
    """Which clip."""

    key: str
    split: str
    label: str | None


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component of the flow, u (to the right) or v (down), over all pixels of the measured fields."""

    at_bound: float
    """Share of its codes at either bound."""
    percentiles_px: dict[str, float]
    """Of its size, such as `99.9`."""


@dataclass(frozen=True, kw_only=True)
class OtherBound:
    """What a bound would do to this motion."""

    bound_px: float
    clipped: float
    """Share of the components of at least that size."""
    is_exact: bool
    """False above the bound of the shards, which hide how fast the clipped motion was. The share is then an
    estimate: it goes on to fall by as much a pixel as it does over the last quarter below the bound."""
    step_px: float
    """Between two codes: what 8 bits can tell apart."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How fast things move, pixel by pixel."""

    clips: int
    fields: int
    u: Component
    v: Component
    at_bound: float
    """Share of all codes, u and v together."""
    speeds: Histogram
    """Pixels by speed, the length of (u, v)."""
    bounds: tuple[OtherBound, ...]
    verdict: Verdict
    verdict_text: str


@dataclass(frozen=True, kw_only=True)
class Stillness:
    """Flow fields without motion, and frames that are there twice, over all fields of the sampled clips."""

    clips: int
    fields: int
    still: float
    """Share of the fields in which at most a hundredth of the 8x8 blocks of u and of v is beyond 0.25 px."""
    duplicate: float
    """Share of the fields between two frames whose JPEGs are the same, byte by byte."""
    longest_s: float
    """Of still fields one after the other."""
    with_stretch: float
    """Share of the clips with a still stretch of a second or more."""
    wholly: float
    """Share of the clips of which at least 95 % of the fields are still."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How much of the flow one affine motion of the whole picture explains."""

    clips: int
    """With measured fields that are not still, and with motion below the bound."""
    fields: int
    share: float
    """Of the flow energy, the sum of u^2 + v^2, of all these fields."""
    median: float
    """Of the shares of the clips."""
    by_clip: Histogram


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """One class. What is measured on a sample is None where no clip of the class is in it."""

    label: str | None
    """None for clips without a label."""
    clips: int
    sampled: int
    rgb_bytes: float | None
    """A frame, mean over all clips; None in a class without a clip."""
    flow_bytes: float | None
    """A field, likewise."""
    at_bound: float | None
    p99_px: float | None
    """99th percentile of the size of a component."""
    still: float | None
    camera: float | None
    """None also where nothing moves."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How evenly the clips are spread over the label names."""

    labels: int
    """Names that there are."""
    empty: int
    """Names without a clip."""
    clips: Spread | None
    """A label, among those that have a clip; None where no clip has a label."""
    by_label: Histogram | None
    """Label names by their clips, likewise."""
    unlabelled: int
    """Clips without a label."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """All clips, or those of one split."""

    clips: int
    frames: int
    hours: float
    balance: Balance
    rgb_bytes: Spread
    """A frame, mean of each clip."""
    flow_bytes: Spread
    rgb_sizes: Histogram
    """Clips by their mean."""
    flow_sizes: Histogram
    lengths: Spread
    """Frames a clip."""
    length_counts: Histogram
    frame_sizes: tuple[Share, ...]
    """Width x height, the most frequent ones and `other`."""
    sampled: int
    """Clips that were decoded; what follows is of them, and None where there is none."""
    motion: Motion | None
    stillness: Stillness | None
    camera: Camera | None
    """None also where nothing moves."""
    classes: tuple[ClassFigures, ...]
    """In the order of the labels; clips without one come last."""


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Clips that are the same."""

    clips: tuple[ClipName, ...]
    crosses_splits: bool
    """They are not all of one split: a test may be of what was trained on."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Clips that are there twice."""

    exact: tuple[Twins, ...]
    """The same frames and flow, byte by byte (both CRC-32 are equal); among all clips."""
    near: tuple[Twins, ...]
    """Frames that look the same at the same moments; among the sampled clips, without what is in `exact`."""
    hashed: int
    """Sampled clips with enough contrast to be compared by looks."""


@dataclass(frozen=True, kw_only=True)
class StillClip:
    """A clip with a long still stretch."""

    clip: ClipName
    longest_s: float
    still: float
    """Share of its fields."""


@dataclass(frozen=True, kw_only=True)
class FarClip:
    """A clip that looks or moves unlike its class."""

    clip: ClipName
    score: float
    """Robust z-score of its distance."""


@dataclass(frozen=True, kw_only=True)
class FarClips:
    """Candidates for a look, the farthest first."""

    judged: int
    """Sampled clips of classes with enough of them."""
    above: int
    """How many of them stand out; the first ones follow."""
    first: tuple[FarClip, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What could not be made or read."""

    name: str
    """Key of a clip, or file name of a shard."""
    split: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report."""

    index_sha256: str
    """Of the `index.json` of the shards: whether two reports are of the same data set."""
    shards: int
    """Named by the index."""
    sampling: Sampling
    parameters: dict[str, str]
    """What the shards were made with."""
    all: Part
    splits: dict[str, Part]
    duplicates: Duplicates
    still_clips: tuple[StillClip, ...]
    """Sampled clips with the longest still stretches of a second or more."""
    far: FarClips
    failed: tuple[Problem, ...]
    """Clips that `preprocess flow` could not make."""
    damaged: tuple[Problem, ...]
    """Shards that cannot be read; their clips are in no figure."""
    undecodable: tuple[Problem, ...]
    """Clips that were looked at and have a frame that cannot be decoded; only the tables count them."""

    @property
    def is_whole(self) -> bool:
        """Everything that was looked at could be read."""
        return not self.damaged and not self.undecodable

    def to_json(self) -> str:
        """The text of `report.json`."""
        document = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Report":
        """The report in the file `path`.

        Raises:
            InvalidInput: no such file, no report, damaged, or of another version.
        """
        return read_document(
            cls,
            path,
            format_=_FORMAT,
            version=_VERSION,
            name="report",
            remedy="`preprocess report SHARDS` writes report.json beside its page",
        )
