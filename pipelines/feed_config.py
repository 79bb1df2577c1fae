"""What batches are made of, and which of them a rank reads."""

import operator
from dataclasses import dataclass

from preprocess.errors import InvalidInput
from preprocess.shards.layout import STREAMS

SHORT_CLIPS = ("loop", "error")
CROPS = (1, 3)
ON_BAD_SHARD = ("raise", "skip")

_LEAST = {
    "frames": 1,
    "crop": 1,
    "batch_size": 1,
    "seed": 0,
    "shard_id": 0,
    "num_shards": 1,
    "windows": 1,
    "crops": 1,
    "shuffle_shards": 1,
}
_MOST = 1_000_000
"""Of all but the seed: more than any machine has use for, and fewer than a plan has room for."""
_OR_NONE = ("frames", "shuffle_shards")


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """The part of a loader's options that its plan depends on."""

    streams: tuple[str, ...] = STREAMS
    """Any of `rgb` and `flow`, each once."""
    frames: int | None = 64
    """Consecutive frames (and flow fields) in a window; 64 is what I3D trains on. None, in evaluation: all that the
    clip has."""
    crop: int = 224
    """Height and width of the crop, in pixels of the stored frames."""
    batch_size: int = 8
    """Rows of a batch of one rank: clips in training, views in evaluation."""
    seed: int = 0
    """Of every random choice."""
    training: bool = True
    """Random order, window, crop and flip; otherwise natural order, fixed windows and crops, no flip."""
    flip: bool = True
    """In training, mirror every other clip; wrong where left and right are different classes."""
    shard_id: int = 0
    """This rank, from 0."""
    num_shards: int = 1
    """Ranks that read the clips together; has nothing to do with the number of shard files."""
    windows: int = 1
    """In evaluation, windows of a clip: 1 is its centre; more are spread evenly from its first frame to its last."""
    crops: int = 1
    """In evaluation, crops of a window: 1 is the centre; 3 lie along the longer side."""
    short_clips: str = "loop"
    """What becomes of a clip shorter than the window: `loop` starts it again, `error` refuses it."""
    balanced: bool = False
    """In training, draw every class equally often; clips without a label are not drawn."""
    shuffle_shards: int | None = None
    """In training, shuffle clips within so many shards at a time, taken in random order; None shuffles all clips."""

    def __post_init__(self) -> None:
        if not self.streams or not set(self.streams) <= set(STREAMS) or len(set(self.streams)) != len(self.streams):
            raise InvalidInput(f"streams {self.streams!r}: name one or both of {', '.join(STREAMS)}, each once")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name in _OR_NONE:
                continue
            try:
                # numpy's integers too, which a saved state must not hold
                whole = operator.index(value)
            except TypeError:
                raise InvalidInput(f"{name} is {value!r}; it must be a whole number") from None
            if whole < least:
                raise InvalidInput(f"{name} is {whole}; it must be at least {least}")
            if whole > _MOST and name != "seed":
                raise InvalidInput(f"{name} is {whole}; it must be at most {_MOST}")
            object.__setattr__(self, name, whole)
        if self.shard_id >= self.num_shards:
            raise InvalidInput(
                f"shard_id is {self.shard_id}; with num_shards={self.num_shards} use 0 to {self.num_shards - 1}"
            )
        if self.short_clips not in SHORT_CLIPS:
            raise InvalidInput(f"short_clips is {self.short_clips!r}; use one of {', '.join(SHORT_CLIPS)}")
        if self.balanced and self.shuffle_shards:
            raise InvalidInput(
                f"balanced draws from all shards at any time, shuffle_shards={self.shuffle_shards} from a few; "
                f"leave out one of them"
            )
        self._check_views()

    def _check_views(self) -> None:
        if self.crops not in CROPS:
            raise InvalidInput(f"crops is {self.crops}; use 1, the centre, or 3 along the longer side")
        if self.training and (self.windows, self.crops) != (1, 1):
            raise InvalidInput(
                f"windows={self.windows} and crops={self.crops} are for evaluation; training draws one of each"
            )
        if self.batch_size % self.crops:
            raise InvalidInput(
                f"batch_size is {self.batch_size}; with crops={self.crops}, which share their decoded frames, it must "
                f"be a multiple of {self.crops}"
            )
        if self.frames is None and (self.training or self.windows > 1 or self.batch_size != self.crops):
            raise InvalidInput(
                f"frames=None takes whole clips, each of its own length: use training=False, windows=1 and "
                f"batch_size={self.crops}, got training={self.training}, windows={self.windows} and "
                f"batch_size={self.batch_size}"
            )

    @property
    def views(self) -> int:
        """Rows that one clip gives in an epoch."""
        return self.windows * self.crops

    @property
    def clips_per_step(self) -> int:
        """Windows that all ranks read together in one step; in training that many clips."""
        return self.batch_size // self.crops * self.num_shards
