"""What is handed to DALI for each batch: one row a JPEG, and where to cut it."""

from collections import deque
from typing import Any

import numpy as np

from pipelines.loader import FLOW_STD
from pipelines.reader import Reader, Sample
from preprocess.errors import BadShard, KineflowError

INPUTS: dict[str, tuple[type, int]] = {
    "mirror": (np.int32, 0),
    "rgb": (np.uint8, 1),
    "rgb_start": (np.int32, 1),
    "rgb_shape": (np.int32, 1),
    "rgb_place": (np.float32, 1),
    "flow": (np.uint8, 1),
    "flow_start": (np.int32, 1),
    "flow_shape": (np.int32, 1),
    "flow_planes": (np.int32, 1),
    "flow_place": (np.float32, 1),
    "flow_std": (np.float32, 1),
}
"""Input of the graph to the type and number of dimensions of one sample.

`start` and `shape` are the region to decode, in pixels, and `planes` are its u and v: channels, height and width.
`place` is where each crop lies in the region (in u as in v), relative to the room that a crop leaves: y, x of the first
crop, y, x of the second and so on."""

_INPUTS_OF = {
    "rgb": ("rgb", "rgb_start", "rgb_shape"),
    "flow": ("flow", "flow_start", "flow_shape", "flow_planes", "flow_place"),
}


class Source:
    """Feeds DALI one batch a call, and remembers what is on its way.

    DALI asks for batches before the caller does, so the source runs ahead of the loader and goes on into the
    next epoch by itself. A batch is a pure function of its position: one that is on its way already is right,
    whoever wanted it.

    Args:
        reader: of the batches.
        normalises: whether DALI does that too, and not the loader: it is told `flow_std` then.
    """

    def __init__(self, reader: Reader, *, normalises: bool) -> None:
        self.reader = reader
        self.normalises = normalises
        self.config = reader.sampler.config
        self._next = (0, 0)
        # with the arrays, because DALI reads them without a copy until the batch is delivered
        self._sent: deque[tuple[tuple[int, int], list[Sample], list[Any]]] = deque()
        self.failed: tuple[tuple[int, int], KineflowError] | None = None
        """Epoch and number of the batch that could not be had, and why; no batch is sent after it."""

    def aim(self, epoch: int, number: int) -> None:
        """Make sure that this batch is on its way."""
        if all(position != (epoch, number) for position, *_ in self._sent):
            self._next = (epoch, number)

    def __call__(self) -> list[Any]:
        """Inputs of the graph for one batch, in the order of `names`.

        Raises:
            StopIteration: it cannot be had; DALI still delivers those before it.
        """
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
                arrays = self._arrays(samples)
                self._sent.append(((epoch, number), samples, arrays))
                return arrays
        self.failed = (self._next, BadShard(f"no clip of {self.reader.shards} can be read: {self.reader.skipped}"))
        raise StopIteration

    def delivered(self) -> tuple[tuple[int, int], list[Sample]]:
        """Epoch and number, and samples, of the batch that DALI has just returned."""
        position, samples, _ = self._sent.popleft()
        return position, samples

    def in_flight(self) -> list[tuple[tuple[int, int], list[Sample]]]:
        """Epoch and number, and samples, of the batches that DALI has and has not returned."""
        return [(position, samples) for position, samples, _ in self._sent]

    @property
    def names(self) -> list[str]:
        """Inputs of the graph, of `INPUTS`."""
        names = ["mirror", *(name for stream in self.config.streams for name in _INPUTS_OF[stream])]
        # the region of a single crop of the frames is the crop
        if self.config.crops > 1 and "rgb" in self.config.streams:
            names.append("rgb_place")
        if self.normalises and "flow" in self.config.streams:
            names.append("flow_std")
        return names

    def _arrays(self, samples: list[Sample]) -> list[Any]:
        side, heights = self.config.crop, self.reader.shards.clips.height
        rows: dict[str, list[Any]] = {name: [] for name in INPUTS}
        for plan in (sample.plan for sample in samples):
            # the smallest region that holds all crops of the window
            top, left = (min(corner[axis] for corner in plan.corners) for axis in (0, 1))
            down, right = (max(corner[axis] for corner in plan.corners) - (top, left)[axis] for axis in (0, 1))
            # u lies on top of v: the columns of the crops, and all rows, so that the two have one shape
            height, width = int(heights[plan.clip]), right + side
            rows["mirror"].append(plan.flip)
            rows["rgb_start"].append((top, left))
            rows["rgb_shape"].append((down + side, width))
            rows["rgb_place"].append(
                [part for y, x in plan.corners for part in ((y - top) / max(down, 1), (x - left) / max(right, 1))]
            )
            rows["flow_start"].append((0, left))
            rows["flow_shape"].append((2 * height, width))
            rows["flow_planes"].append((2, height, width))
            rows["flow_place"].append(
                [part for y, x in plan.corners for part in (y / max(height - side, 1), (x - left) / max(right, 1))]
            )
            rows["flow_std"].append((-FLOW_STD if plan.flip else FLOW_STD, FLOW_STD))
        counts = [len(sample.plan.decoded) for sample in samples]
        arrays: dict[str, Any] = {
            stream: [jpeg for sample in samples for jpeg in sample.jpegs[stream]] for stream in self.config.streams
        }
        for name in self.names:
            if name not in arrays:
                arrays[name] = np.repeat(np.array(rows[name], INPUTS[name][0]), counts, axis=0)
        return [arrays[name] for name in self.names]
