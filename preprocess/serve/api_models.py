"""What the API answers."""

from typing import Any

from pydantic import BaseModel, model_validator

from preprocess.serve.index.counts import LabelCount, MessageCount
from preprocess.serve.index.samples import Sample
from preprocess.serve.manifest_lines import ManifestLine
from preprocess.serve.plain import plain


class Answer(BaseModel):
    """Base of all: what comes from files is made JSON that every reader takes."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        return plain(values)


class IndexModel(Answer):
    """How much of the manifests and shards the answers rest on."""

    read_bytes: int
    whole_bytes: int


class DamageModel(Answer):
    """A part of a run that cannot be read; the rest is there."""

    where: str
    """Name of a shard, or the byte of the manifest where a line begins."""
    reason: str


class RunModel(Answer):
    """A folder of clips or shards."""

    id: str
    name: str
    """Relative to ROOT."""
    kind: str
    """`clips` or `shards`."""
    outcomes: dict[str, int]
    """Clips by outcome, as far as they are in the index."""
    shards: int
    index: IndexModel
    free_bytes: int | None
    """Of the disk."""
    notes: list[str]
    damaged_lines: int
    """Of the manifest."""
    damage: list[DamageModel]
    """Lines and shards, up to 20 of each."""
    status: dict[str, Any] | None
    """As `preprocess status --json` prints it; null where no run published anything."""
    samples: list[Sample]


class StandingModel(Answer):
    """How a clip stands in one run."""

    run: str
    run_name: str
    run_kind: str
    label: str
    """Empty for none."""
    split: str
    outcome: str
    cause: str


class FoundClipModel(Answer):
    """One clip of a page."""

    key: str
    standings: list[StandingModel]


class ClipPageModel(Answer):
    """Some clips, sorted by key."""

    clips: list[FoundClipModel]
    next: str | None
    """`after` of the next page; null at the end."""
    total: int | None
    """A clip counts once for each of its runs; null where a search does not count."""
    labels: list[str]
    """Classes whose names fit the search."""
    notes: list[str]
    """What the search left out."""


class ShardClipModel(Answer):
    """A clip in a shard."""

    shard: str
    row: int
    frames: int
    height: int
    width: int
    time_start: float
    time_end: float
    bytes: dict[str, int]
    """Of the JPEGs, by stream."""
    crc32: dict[str, int]
    settings: dict[str, str]
    """Every attribute of the shard, in words."""


class RunRecordModel(Answer):
    """What one run knows of a clip."""

    standing: StandingModel
    lines: list[ManifestLine]
    """Oldest first."""
    shard: ShardClipModel | None
    problem: str


class ClipModel(Answer):
    """All that is known of a clip."""

    key: str
    runs: list[RunRecordModel]


class FailureModel(Answer):
    """Clips of one run that are not there for one cause."""

    run: str
    outcome: str
    cause: str
    clips: int
    advice: str
    """How they are tried again."""


class FailuresModel(Answer):
    """Why clips are not there."""

    counts: list[FailureModel]
    messages: list[MessageCount]
    """The most frequent ones."""


class DatasetModel(Answer):
    """The data set of a run."""

    run: str
    labels: list[LabelCount]
    card: dict[str, Any] | None
    """As in `card.json`."""
    notes: list[str]
    """Why there is no card, or how good it is."""
