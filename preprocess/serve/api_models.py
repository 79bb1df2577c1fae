"""What the API answers."""

from typing import Any

from pydantic import BaseModel, model_validator

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


class SampleModel(Answer):
    """A run at one moment, as the server saw it."""

    at: float
    """Epoch seconds."""
    outcomes: dict[str, int]


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
    samples: list[SampleModel]


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


class ManifestLineModel(Answer):
    """One line of a manifest."""

    at: int
    """Byte where it begins."""
    fields: dict[str, Any]
    problem: str


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
    lines: list[ManifestLineModel]
    """Oldest first."""
    shard: ShardClipModel | None
    problem: str


class ClipModel(Answer):
    """All that is known of a clip."""

    key: str
    runs: list[RunRecordModel]


class StatisticsModel(Answer):
    """What the flow of a clip is like."""

    fields: int
    """Looked at, evenly spread."""
    fields_of_clip: int
    edges_px: list[float]
    u: list[int]
    v: list[int]
    share_at_bound: float
    share_still: float
    mean_px: float
    largest_mean_px: float


class FailureModel(Answer):
    """Clips of one run that are not there for one cause."""

    run: str
    outcome: str
    cause: str
    clips: int
    advice: str
    """How they are tried again."""


class MessageModel(Answer):
    """Clips of one run whose sources said the same."""

    id: int
    run: str
    outcome: str
    cause: str
    text: str
    """What differs is an asterisk."""
    clips: int
    example: str


class FailuresModel(Answer):
    """Why clips are not there."""

    counts: list[FailureModel]
    messages: list[MessageModel]
    """The most frequent ones."""


class LabelModel(Answer):
    """Clips of one class, as far as they are in the index."""

    label: str
    done: int
    clips: int


class DatasetModel(Answer):
    """The data set of a run."""

    run: str
    labels: list[LabelModel]
    card: dict[str, Any] | None
    """As in `card.json`."""
    notes: list[str]
    """Why there is no card, or how good it is."""
