"""Which clips, frames, crops and flips make a batch: the one plan that every loader follows.

An epoch is a global order of all clips. Rank `r` of `S` reads the positions `r, r + S, r + 2 S, ...` of
that order, and what is drawn for a clip depends on seed, epoch and position alone. So neither the number of
ranks nor the loader, its threads or its prefetching changes what a clip looks like; they only change who
reads it.
"""

from dataclasses import dataclass

import numpy as np

from preprocess.errors import InvalidInput
from preprocess.shards.layout import STREAMS, ClipTable


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """What batches are made of, and which of them this rank reads."""

    streams: tuple[str, ...] = STREAMS
    """Any of `rgb` and `flow`, each once."""
    frames: int = 64
    """Frames (and flow fields) in a window, at 25 a second; 64 is what I3D trains on."""
    crop: int = 224
    """Height and width of the crop, in pixels of the stored frames."""
    batch_size: int = 8
    """Clips in a batch of one rank."""
    seed: int = 0
    """Of every random choice."""
    training: bool = True
    """Random order, window, crop and flip; otherwise natural order, centre window, centre crop, no flip."""
    flip: bool = True
    """In training, mirror every other clip; wrong where left and right are different classes."""
    shard_id: int = 0
    """This rank, from 0."""
    num_shards: int = 1
    """Ranks that read the clips together; has nothing to do with the number of shard files."""

    def __post_init__(self) -> None:
        if not self.streams or not set(self.streams) <= set(STREAMS) or len(set(self.streams)) != len(self.streams):
            raise InvalidInput(f"streams {self.streams!r}: name one or both of {', '.join(STREAMS)}, each once")
        for name, least in (("frames", 1), ("crop", 1), ("batch_size", 1), ("num_shards", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.shard_id < self.num_shards:
            raise InvalidInput(
                f"shard_id is {self.shard_id}; with num_shards={self.num_shards} use 0 to {self.num_shards - 1}"
            )

    @property
    def clips_per_step(self) -> int:
        """Clips that all ranks read together in one step."""
        return self.batch_size * self.num_shards


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """How one clip enters a batch; the same for both streams and all frames."""

    clip: int
    """Row of the clip table."""
    frames: tuple[int, ...]
    """Frame numbers within the clip, from 0; also the numbers of the flow fields that start at them."""
    top: int
    """First row of the crop, in pixels."""
    left: int
    """First column of the crop, in pixels."""
    flip: bool
    """Mirror left to right; the horizontal flow component changes its sign with it."""


class Sampler:
    """Plans the batches of one rank, each a pure function of epoch and batch number.

    The tail: in training every rank reads equally many full batches, and the clips at the end of the order
    that do not fill one batch on every rank are left out of that epoch (another order leaves out others).
    Otherwise every clip is read exactly once: a rank's last batch may be shorter, and a rank may have one
    batch less than another.

    Args:
        clips: all clips of a split.
        config: see `FeedConfig`.

    Raises:
        InvalidInput: the crop is larger than a clip's frame, or training has too few clips for one step.
    """

    def __init__(self, clips: ClipTable, config: FeedConfig) -> None:
        self.clips = clips
        self.config = config
        # a window of both streams has to end where the last flow field starts
        self._length = clips.flow_count if "flow" in config.streams else clips.rgb_count
        self._order: tuple[int, np.ndarray] = (-1, np.arange(len(clips)))
        too_small = np.flatnonzero(np.minimum(clips.height, clips.width) < config.crop)
        if len(too_small):
            row = too_small[0]
            raise InvalidInput(
                f"crop {config.crop} does not fit clip {clips.key[row].decode()} with frames of "
                f"{clips.height[row]}x{clips.width[row]} pixels ({len(too_small)} of {len(clips)} clips "
                f"are too small); use crop={np.minimum(clips.height, clips.width).min()} or less"
            )
        if config.training and len(clips) < config.clips_per_step:
            raise InvalidInput(
                f"{len(clips)} clips do not fill one training step of batch_size={config.batch_size} on "
                f"num_shards={config.num_shards} ranks ({config.clips_per_step} clips); "
                f"use a smaller batch_size or fewer ranks"
            )

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        if self.config.training:
            return len(self.clips) // self.config.clips_per_step
        mine = len(range(self.config.shard_id, len(self.clips), self.config.num_shards))
        return (mine + self.config.batch_size - 1) // self.config.batch_size

    def batch(self, epoch: int, number: int) -> list[SamplePlan]:
        """Plans of batch `number` of an epoch, both from 0; only a last batch has fewer than `batch_size`."""
        first = number * self.config.clips_per_step + self.config.shard_id
        last = min((number + 1) * self.config.clips_per_step, len(self.clips))
        return [self.sample(epoch, position) for position in range(first, last, self.config.num_shards)]

    def sample(self, epoch: int, position: int) -> SamplePlan:
        """The plan of one position of an epoch's global order."""
        clip = int(self.order(epoch)[position])
        length = int(self._length[clip])
        frames, crop = self.config.frames, self.config.crop
        free = (length - frames, int(self.clips.height[clip]) - crop, int(self.clips.width[clip]) - crop)
        if self.config.training:
            # four numbers whatever the clip is like, so that one draw never shifts another
            *draws, coin = np.random.default_rng(self._seed(epoch, position)).random(4).tolist()
            start, top, left = (int(draw * (max(room, 0) + 1)) for draw, room in zip(draws, free, strict=True))
            flip = self.config.flip and coin < 0.5
        else:
            start, top, left = (max(room, 0) // 2 for room in free)
            flip = False
        # a clip shorter than the window starts at its first frame and is looped
        window = tuple(((start + np.arange(frames)) % length).tolist())
        return SamplePlan(clip=clip, frames=window, top=top, left=left, flip=flip)

    def order(self, epoch: int) -> np.ndarray:
        """Clip rows in the order of an epoch, over all ranks; int64 [clips]."""
        if self.config.training and self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng(self._seed(epoch)).permutation(len(self.clips)))
        return self._order[1]

    def _seed(self, *key: int) -> np.random.SeedSequence:
        # a spawn key, because as plain entropy (seed, epoch) and (seed, epoch, 0) give the same stream
        return np.random.SeedSequence(self.config.seed, spawn_key=key)
