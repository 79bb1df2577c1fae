"""What is handed to DALI for each batch: one row a JPEG, and where to cut it."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.loader import FLOW_STD
from pipelines.reader import Reader, Sample
from pipelines.sampling import SamplePlan
from preprocess.errors import BadShard, KineflowError

INPUTS: dict[str, tuple[type, int]] = {
    "rgb": (np.uint8, 1),
    "flow": (np.uint8, 1),
    "rgb_start": (np.int32, 1),
    "rgb_shape": (np.int32, 1),
    "flow_start": (np.int32, 1),
    "flow_shape": (np.int32, 1),
    "mirror": (np.int32, 0),
    "place": (np.float32, 1),
    "flow_planes": (np.int32, 1),
    "flow_std": (np.float32, 1),
}
"""Input of the graph to the type and number of dimensions of one sample.

`start` and `shape` are the region to decode, in pixels. What follows is for a graph that finishes whole pictures:
`place` is where each crop lies, relative to the room that a crop leaves: y, x of the first crop, y, x of the second and
so on; `planes` are channels, height and width of u and v."""

_TO_DECODE = {"rgb": ("rgb_start", "rgb_shape"), "flow": ("flow_start", "flow_shape")}
_TO_FINISH = {"rgb": (), "flow": ("flow_planes", "flow_std")}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one run of DALI decodes: some clips of a batch, or all."""

    epoch: int
    number: int
    """Of the batch in its epoch."""
    first: int
    """Clips of the batch before those of this part."""
    whole: int
    """Clips of the batch."""
    samples: list[Sample]


class Source:
    """Feeds DALI one part of a batch a call, and remembers what is on its way.

    That is the whole batch where DALI makes network input of it, as on a GPU. On the CPU it is one clip: all regions
    that DALI delivers together have one size.

    DALI asks for batches before the caller does, so the source runs ahead of the loader and goes on into the
    next epoch by itself. A batch is a pure function of its position: one that is on its way already is right,
    whoever wanted it.

    Args:
        reader: of the batches.
        finishes: whether DALI crops, mirrors and normalises too, and not the loader.
    """

    def __init__(self, reader: Reader, *, finishes: bool) -> None:
        self.reader = reader
        self.config = reader.sampler.config
        # of an evaluation there may be fewer than a batch has place for
        self.clips_a_batch = max(len(reader.sampler.batch(0, 0)), 1)
        self.clips_a_run = self.clips_a_batch if finishes else 1
        self.finishes = finishes
        self._next = (0, 0)
        self._parts: deque[Part] = deque()
        # with the arrays, because DALI reads them without a copy until the part is delivered
        self._sent: deque[tuple[Part, list[Any]]] = deque()
        self._stale = 0
        self.failed: tuple[tuple[int, int], KineflowError] | None = None
        """Epoch and number of the batch that could not be had, and why; no batch is sent after it."""

    def aim(self, epoch: int, number: int) -> None:
        """Make sure that all of this batch is on its way."""
        ahead = (*self.in_flight()[self._stale :], *self._parts)
        if not any((part.epoch, part.number, part.first) == (epoch, number, 0) for part in ahead):
            self._next = (epoch, number)
            self._parts.clear()
            self._stale = len(self._sent)

    def __call__(self) -> list[Any]:
        """Inputs of the graph for one part, in the order of `names`.

        Raises:
            StopIteration: its batch cannot be had; DALI still delivers those before it.
        """
        if not self._parts:
            self._parts.extend(self._divided())
        part = self._parts.popleft()
        arrays = self._arrays(part.samples)
        self._sent.append((part, arrays))
        return arrays

    def delivered(self) -> Part | None:
        """What DALI has just returned; None for what was on its way when the source was aimed elsewhere."""
        part, _ = self._sent.popleft()
        if self._stale:
            self._stale -= 1
            return None
        return part

    def in_flight(self) -> list[Part]:
        """What DALI has and has not returned."""
        return [part for part, _ in self._sent]

    @property
    def names(self) -> list[str]:
        """Inputs of the graph, of `INPUTS`."""
        more = _TO_FINISH if self.finishes else _TO_DECODE
        names = [name for stream in self.config.streams for name in (stream, *more[stream])]
        return [*names, "mirror", "place"] if self.finishes else names

    def _divided(self) -> list[Part]:
        """The next batch that is not empty."""
        for _ in range(len(self.reader.sampler)):
            epoch, number = self._next
            try:
                samples = self.reader.batch(epoch, number)
            except KineflowError as error:
                self.failed = (self._next, error)
                raise StopIteration from error
            self._next = (epoch, number + 1) if number + 1 < len(self.reader.sampler) else (epoch + 1, 0)
            # DALI takes no empty batch, and the loader asks for none
            if samples:
                return [
                    Part(
                        epoch=epoch,
                        number=number,
                        first=first,
                        whole=len(samples),
                        samples=samples[first : first + self.clips_a_run],
                    )
                    for first in range(0, len(samples), self.clips_a_run)
                ]
        self.failed = (self._next, BadShard(f"no clip of {self.reader.shards} can be read: {self.reader.skipped}"))
        raise StopIteration

    def _arrays(self, samples: list[Sample]) -> list[Any]:
        counts = [len(sample.plan.decoded) for sample in samples]
        rows = [self._row(sample.plan) for sample in samples]
        arrays: dict[str, Any] = {
            stream: [jpeg for sample in samples for jpeg in sample.jpegs[stream]] for stream in self.config.streams
        }
        for name in self.names:
            if name not in arrays:
                arrays[name] = np.repeat(np.array([row[name] for row in rows], INPUTS[name][0]), counts, axis=0)
        return [arrays[name] for name in self.names]

    def _row(self, plan: SamplePlan) -> dict[str, Any]:
        """What every JPEG of a window is fed with."""
        clips, side = self.reader.shards.clips, self.config.crop
        height, width = int(clips.height[plan.clip]), int(clips.width[plan.clip])
        if self.finishes:
            room = max(height - side, 1), max(width - side, 1)
            return {
                "mirror": plan.flip,
                "place": [at / free for corner in plan.corners for at, free in zip(corner, room, strict=True)],
                "flow_planes": (2, height, width),
                "flow_std": (-FLOW_STD if plan.flip else FLOW_STD, FLOW_STD),
            }
        (top, left), (high, wide) = region(plan, side)
        return {
            "rgb_start": (top, left),
            "rgb_shape": (high, wide),
            # u lies on top of v: from the region's top in u to its end in v
            "flow_start": (top, left),
            "flow_shape": (height + high, wide),
        }


def region(plan: SamplePlan, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The smallest part of a picture that holds all crops of a window: top and left, height and width, in pixels."""
    tops, lefts = zip(*plan.corners, strict=True)
    top, left = min(tops), min(lefts)
    return (top, left), (max(tops) - top + side, max(lefts) - left + side)
