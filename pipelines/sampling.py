"""Which clips, frames, crops and flips make a batch: the one plan that every loader follows.

An epoch is a global order of all clips. Rank `r` of `S` reads the positions `r, r + S, r + 2 S, ...` of
that order, and what is drawn for a clip depends on seed, epoch and position alone. So neither the number of
ranks nor the loader, its threads or its prefetching changes what a clip looks like; they only change who
reads it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.feed_config import FeedConfig
from pipelines.order import Group, TrainingOrder, random_stream
from pipelines.views import crop_corners, window_start
from preprocess.errors import InvalidInput
from preprocess.shards.layout import ClipTable

_ORDERS_KEPT = 2  # a loader that works ahead is in two epochs at once


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """How one window of a clip enters a batch, as one row a crop; the same for both streams and all frames."""

    position: int
    """In the epoch's global order."""
    clip: int
    """Row of the clip table."""
    window: int
    """Number of the window in its clip, from 0."""
    frames: tuple[int, ...]
    """Frame numbers within the clip, from 0; also the numbers of the flow fields that start at them. Empty if the
    clip could not be read when the shards were opened."""
    corners: tuple[tuple[int, int], ...]
    """Top row and left column of each crop, in pixels."""
    flip: bool
    """Mirror left to right; the horizontal flow component changes its sign with it."""

    @property
    def decoded(self) -> tuple[int, ...]:
        """The frames that have to be decoded: those of a looped clip once. Frame `t` is `decoded[t % len(decoded)]`."""
        return self.frames[: max(self.frames) - self.frames[0] + 1] if self.frames else ()

    @property
    def views(self) -> tuple[int, ...]:
        """Number of each crop among the views of its clip, from 0."""
        return tuple(self.window * len(self.corners) + crop for crop in range(len(self.corners)))


@dataclass(frozen=True, kw_only=True)
class Share:
    """A stretch of the clip table that is one data set of a mixture."""

    name: str
    clips: int
    weight: float


class Sampler:
    """Plans the batches of one rank, each a pure function of epoch and batch number.

    The tail: in training every rank reads equally many full batches, and the clips at the end of the order
    that do not fill one batch on every rank are left out of that epoch (another order leaves out others).
    Otherwise every clip is read exactly once, all its views one after the other on one rank: a rank's last
    batch may be shorter, and ranks may differ by the batches of one clip.

    Args:
        clips: all clips of a split; those without frames could not be read and keep their positions.
        config: see `FeedConfig`.
        shard: int [clips]: the shard of each; needed for `config.shuffle_shards`.
        shares: the data sets of a mixture, in the order of `clips`; one of all clips if not given.

    Raises:
        InvalidInput: the crop is larger than a clip's frame, a clip is shorter than the window and that was not
            wanted, a weight gives nothing, or training has too few clips for one step.
    """

    def __init__(
        self,
        clips: ClipTable,
        config: FeedConfig,
        *,
        shard: np.ndarray | None = None,
        shares: Sequence[Share] = (),
    ) -> None:
        self.clips = clips
        self.config = config
        # a window of both streams has to end where the last flow field starts
        self._length = clips.flow_count if "flow" in config.streams else clips.rgb_count
        self._check_sizes()
        self.positions = len(clips)
        """Of an epoch, over all ranks."""
        self._order: Callable[[int], np.ndarray]
        if config.training:
            shares = shares or (Share(name="the data set", clips=len(clips), weight=1.0),)
            groups = _groups(clips, shares, balanced=config.balanced)
            order = TrainingOrder(groups, seed=config.seed, shard=shard, shuffle_shards=config.shuffle_shards)
            self.positions = order.positions
            self._order = lru_cache(_ORDERS_KEPT)(order)
            self._check_step()
        else:
            natural = np.arange(self.positions, dtype=np.int32)
            self._order = lambda epoch: natural

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        return self._batches(self.config.shard_id)

    @property
    def most_batches(self) -> int:
        """Batches of the rank that has most of them."""
        return self._batches(0)

    def batch(self, epoch: int, number: int) -> list[SamplePlan]:
        """Plans of batch `number` of an epoch, both from 0; only a last batch has fewer rows than `batch_size`."""
        config = self.config
        first = number * self._windows_per_batch
        last = first + self._windows_per_batch
        plans = []
        for mine in range(first, last if config.training else min(last, self._windows(config.shard_id))):
            clip, window = divmod(mine, config.windows)
            plans.append(self.sample(epoch, config.shard_id + clip * config.num_shards, window=window))
        return plans

    def sample(self, epoch: int, position: int, *, window: int = 0, attempt: int = 0) -> SamplePlan:
        """The plan of one position of an epoch's global order.

        Args:
            epoch: from 0.
            position: from 0.
            window: of the clip, in evaluation.
            attempt: in training, 0 is the plan; 1, 2 and so on are others to take its place, each a draw from the
                epoch's order, where a clip cannot be read.
        """
        config = self.config
        random = random_stream(config.seed, epoch, position, *([attempt] if attempt else []))
        place = int(random.random() * self.positions) if attempt else position
        clip = int(self.order(epoch)[place])
        length = int(self._length[clip])
        if length == 0:
            return SamplePlan(position=position, clip=clip, window=window, frames=(), corners=(), flip=False)
        frames = config.frames or length
        height, width = int(self.clips.height[clip]), int(self.clips.width[clip])
        if config.training:
            free = (length - frames, height - config.crop, width - config.crop)
            # four numbers whatever the clip is like, so that one draw never shifts another
            *draws, coin = random.random(4).tolist()
            start, top, left = (int(draw * (max(room, 0) + 1)) for draw, room in zip(draws, free, strict=True))
            corners: tuple[tuple[int, int], ...] = ((top, left),)
            flip = config.flip and coin < 0.5
        else:
            start = window_start(length - frames, number=window, count=config.windows)
            corners = crop_corners(height, width, side=config.crop, count=config.crops)
            flip = False
        # a clip shorter than the window starts at its first frame and is looped
        looped = tuple(((start + np.arange(frames)) % length).tolist())
        return SamplePlan(position=position, clip=clip, window=window, frames=looped, corners=corners, flip=flip)

    def order(self, epoch: int) -> np.ndarray:
        """Clip rows in the order of an epoch, over all ranks; int [positions]."""
        return self._order(epoch)

    @property
    def longest(self) -> int:
        """Most frames that a window holds."""
        return self.config.frames or int(self._length.max())

    @property
    def _windows_per_batch(self) -> int:
        return self.config.batch_size // self.config.crops

    def _batches(self, rank: int) -> int:
        if self.config.training:
            return self.positions // self.config.clips_per_step
        return (self._windows(rank) + self._windows_per_batch - 1) // self._windows_per_batch

    def _windows(self, rank: int) -> int:
        """Of a rank, in an epoch of evaluation."""
        return len(range(rank, self.positions, self.config.num_shards)) * self.config.windows

    def _check_sizes(self) -> None:
        clips, config = self.clips, self.config
        short_side = np.minimum(clips.height, clips.width)
        too_small = np.flatnonzero((short_side < config.crop) & (self._length > 0))
        if len(too_small):
            row = too_small[0]
            raise InvalidInput(
                f"crop {config.crop} does not fit clip {clips.name(row)} with frames of "
                f"{clips.height[row]}x{clips.width[row]} pixels ({len(too_small)} of {len(clips)} clips "
                f"are too small); use crop {short_side[too_small].min()} or less"
            )
        if config.short_clips == "error" and config.frames is not None:
            too_short = np.flatnonzero((self._length < config.frames) & (self._length > 0))
            if len(too_short):
                row = too_short[np.argmin(self._length[too_short])]
                raise InvalidInput(
                    f"a window of {config.frames} frames is longer than {len(too_short)} of {len(clips)} clips, the "
                    f"shortest {clips.name(row)} with {self._length[row]}; use frames={self._length[row]} or "
                    f"less, or short_clips='loop'"
                )

    def _check_step(self) -> None:
        if self.positions < self.config.clips_per_step:
            raise InvalidInput(
                f"{self.positions} clips do not fill one training step of batch_size={self.config.batch_size} on "
                f"num_shards={self.config.num_shards} ranks ({self.config.clips_per_step} clips); "
                f"use a smaller batch_size or fewer ranks"
            )


def _groups(clips: ClipTable, shares: Sequence[Share], *, balanced: bool) -> list[Group]:
    groups, first = [], 0
    for share in shares:
        rows = np.arange(first, first + share.clips, dtype=np.int32)
        first += share.clips
        if not balanced:
            groups.append(Group(name=share.name, rows=rows, weight=share.weight))
            continue
        label = clips.label[rows]
        by_label = rows[np.argsort(label, kind="stable")]
        classes, starts = np.unique(label[by_label - rows[0]], return_index=True)
        parts = [
            (number, part) for number, part in zip(classes, np.split(by_label, starts[1:]), strict=True) if number >= 0
        ]
        if not parts:
            raise InvalidInput(f"no clip of {share.name} has a label to balance by; use balanced=False")
        groups += [
            Group(name=f"class {number} of {share.name}", rows=part, weight=share.weight / len(parts))
            for number, part in parts
        ]
    return groups
