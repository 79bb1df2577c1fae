"""The order of kernel launches that solves TV-L1 for a batch of pairs.

Knows nothing of CuPy: the tests run it on a CPU, on kernels that are emulated. The host never waits for the launch that
it made last. How many pairs are still active it learns one launch late, which only costs some empty blocks.

`check_every` is honoured exactly, whatever number of iterations a launch does: see settle_pair in tvl1_settle.cuh.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from preprocess.flow.cuda_batch import BATCH, TESTED_SHIFT, TURN_DUAL, TURN_FLOW, Capacity, Level, pyramid
from preprocess.flow.cuda_kernels import TileShape, choose_tile
from preprocess.flow.params import CONVENTIONS, Tvl1Params

PIXEL_BLOCK = (32, 8, 1)
MEDIAN_SPAN, MEDIAN_THREADS = 8, 128
SETTLE_THREADS = 256

Array = Any
"""A NumPy or CuPy array."""


class Device(Protocol):
    """What the solver needs of a GPU."""

    shared_limit: int
    """Bytes of shared memory that a block may have."""

    def launch(
        self,
        kernel: str | TileShape,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        batch: np.ndarray,
        *,
        number: int = 0,
        flags: int = 0,
        shared_bytes: int = 0,
    ) -> None:
        """Start a kernel, after all that was started before."""

    def address(self, array: Array) -> int:
        """Pointer to the first element."""

    def write(self, array: Array, values: Array) -> None:
        """Start to copy to the device; `values`, there or on the host, may change once a later count is received."""

    def read(self, array: Array, out: np.ndarray) -> None:
        """Start to copy an array to the host."""

    def send_count(self, array: Array, slot: int) -> None:
        """Start to copy one int32 to the host; slots are 0 and 1."""

    def receive_count(self, slot: int) -> int:
        """Wait for the copy last sent to a slot."""


@dataclass(frozen=True)
class Launch:
    """Iterations of one launch of a tile kernel."""

    iterations: int
    tested: int
    """Bit i: convergence is tested after iteration i."""
    after_median: bool
    """Whether the median filter comes first."""


def launches_of_warp(params: Tvl1Params, per_launch: int) -> Iterator[Launch]:
    """The launches of one warp if no pair converges."""
    for _ in range(params.outer_iterations):
        for done in range(0, params.inner_iterations, per_launch):
            iterations = min(per_launch, params.inner_iterations - done)
            tested = sum(1 << i for i in range(iterations) if (done + i + 1) % params.check_every == 0)
            yield Launch(iterations, tested, after_median=done == 0 and params.median > 1)


class ActivePairs:
    """An upper bound of how many pairs are active, from counts that arrive one launch late."""

    def __init__(self, device: Device, count: Array, pairs: int) -> None:
        self.device, self.count = device, count
        self.bound = pairs
        self.sent = 0

    def launched(self) -> None:
        """Send for the count after the latest launch, and learn the one before."""
        self.device.send_count(self.count, self.sent % 2)
        self.sent += 1
        if self.sent > 1:
            self.bound = self.device.receive_count(self.sent % 2)


class Solver:
    """TV-L1 for batches of pairs of frames of one size."""

    def __init__(
        self,
        device: Device,
        size: tuple[int, int],
        params: Tvl1Params,
        *,
        pairs: int,
        frames: int,
        tile: TileShape | None = None,
    ) -> None:
        """`size` is height and width, `pairs` and `frames` the most of a batch; `tile` overrides the chosen shapes."""
        height, width = size
        self.device, self.params = device, params
        self.levels = pyramid(width, height, params)
        self.tiles = [tile or choose_tile(level.width, level.height, device.shared_limit) for level in self.levels]
        largest_change = max(
            shape.halo * int(np.prod(shape.grid(level.width, level.height)))
            for shape, level in zip(self.tiles, self.levels, strict=True)
        )
        self.capacity = Capacity(self.levels, pairs, frames, largest_change)
        self.buffers: dict[str, Array] = {}

    def use(self, memory: Array) -> None:
        """Work in `memory`: uint8 on the device, at least `capacity.bytes`."""
        self.buffers = self.capacity.views(memory)

    def write_frames(self, first: int, frames_THW: Array) -> None:
        """Put uint8 frames on the device, as numbers `first` and following of the batch."""
        _, height, width = frames_THW.shape
        size = height * width
        view = self.buffers["frames"][first * size : (first + len(frames_THW)) * size]
        self.device.write(view.reshape(frames_THW.shape), frames_THW)

    def solve(self, pair_frames: Sequence[tuple[int, int]]) -> None:
        """Flow of pairs of the frames that `write_frames` wrote, left on the device for `write_result`."""
        pairs = len(pair_frames)
        self.device.write(self.buffers["pair_frames"][: 2 * pairs], np.array(pair_frames, np.int32).ravel())
        frames = 1 + max(max(pair) for pair in pair_frames)
        for index in range(len(self.levels)):
            self._per_pixel("next_level" if index else "first_level", self.batch_of(index, pairs, finer=True), frames)
        for index in reversed(range(len(self.levels))):
            batch = self.batch_of(index, pairs)
            coarsest = index == len(self.levels) - 1
            self._per_pixel("clear_pairs" if coarsest else "resize_flow", batch, pairs)
            self._one_block("start_level", batch, flags=0 if coarsest else TURN_FLOW)
            for _ in range(self.params.warps):
                self._warp(index, batch, pairs)
        # No count may arrive after this device object is gone, or in the next batch, maybe on another stream.
        for slot in (0, 1):
            self.device.receive_count(slot)

    def write_result(self, first: int, pairs: int, out: Array) -> None:
        """Write the flow of `pairs` pairs from `first` on to `out`, on the device, [pairs, 2, H, W].

        float32 in px, or uint8 codes of `quantise`, by the type of `out`.
        """
        batch = self.batch_of(0, self.capacity.pairs)
        batch["codes_out" if out.dtype == np.uint8 else "flow_out"] = self.device.address(out)
        self._per_pixel("write_result", batch, pairs, number=first)

    def iterations(self, pairs: int) -> Array:
        """Iterations that the pairs of the last batch took, [level, pair], fine levels first; on the device."""
        return self.buffers["iterations"].reshape(len(self.levels), -1)[:, :pairs]

    def batch_of(self, index: int, pairs: int, *, finer: bool = False) -> np.ndarray:
        """The struct for a level; `from` is the finer level or, by default, the coarser one."""
        batch = np.zeros(1, BATCH)
        level = self.levels[index]
        other = min(max(index + (-1 if finer else 1), 0), len(self.levels) - 1)
        source = self.levels[other]
        batch["level"], batch["from"] = level.struct, source.struct
        names = ("frames", "pair_frames", "data", "change", "active", "active_count", "flow_side", "dual_side", "redo")
        for name in names:
            batch[name] = self.device.address(self.buffers[name])
        batch["image"] = self.device.address(self.buffers[f"image{index}"])
        batch["from_image"] = self.device.address(self.buffers[f"image{other}"])
        for name in ("flow", "dual"):
            batch[name] = [self.device.address(self.buffers[f"{name}{side}"]) for side in (0, 1)]
        batch["iterations"] = self.device.address(self._iterations(index))
        batch["spacing"], batch["pairs"] = self.capacity.spacing, pairs
        batch["tiles"] = np.prod(self.tiles[index].grid(level.width, level.height))
        params = self.params
        batch["cubic"], batch["zero_outside"] = CONVENTIONS[params.convention]
        batch["most_along"], batch["tau"] = params.lambda_ * params.theta / params.tau, params.tau
        batch["tau_theta"] = params.tau / params.theta
        batch["largest_change"] = (params.epsilon / params.tau) ** 2 * level.width * level.height
        # The pyramid divides by the step, the flow by the ratio of rounded sizes: as in OpenCV.
        batch["scale_x"] = 1 / params.scale_step if finer else source.width / level.width
        batch["scale_y"] = 1 / params.scale_step if finer else source.height / level.height
        batch["flow_scale"] = 1 / params.scale_step
        return batch

    def _warp(self, index: int, batch: np.ndarray, pairs: int) -> None:
        level, shape = self.levels[index], self.tiles[index]
        self._one_block("start_warp", batch)
        self._per_pixel("warp", batch, pairs)
        active = ActivePairs(self.device, self.buffers["active_count"], pairs)
        for launch in launches_of_warp(self.params, shape.halo):
            if launch.after_median:
                self._median(level, batch, active.bound)
            self._iterate(level, shape, batch, active.bound, launch.iterations, launch.tested)
            active.launched()
            if not active.bound:
                return
        # Only for pairs that converged within the last launch and have it to redo.
        self._iterate(level, shape, batch, active.bound, 0, 0)

    def _iterate(
        self, level: Level, shape: TileShape, batch: np.ndarray, pairs: int, iterations: int, tested: int
    ) -> None:
        grid = (*shape.grid(level.width, level.height), pairs)
        flags = tested << TESTED_SHIFT
        block = (shape.threads, 1, 1)
        self.device.launch(shape, grid, block, batch, number=iterations, flags=flags, shared_bytes=shape.shared_bytes)
        self._settle(batch, flags=flags | TURN_FLOW | TURN_DUAL, number=iterations)

    def _median(self, level: Level, batch: np.ndarray, pairs: int) -> None:
        spans = -(-level.height // MEDIAN_SPAN)
        grid = (-(-level.width // MEDIAN_THREADS), 2 * spans, pairs)  # 2: components of the flow
        around = self.params.median - 1
        seen = 4 * (MEDIAN_SPAN + around) * (MEDIAN_THREADS + around)
        self.device.launch(f"median{self.params.median}", grid, (MEDIAN_THREADS, 1, 1), batch, shared_bytes=seen)
        self._settle(batch, flags=TURN_FLOW)

    def _settle(self, batch: np.ndarray, *, flags: int, number: int = 0) -> None:
        self._one_block("settle", batch, flags=flags, number=number)

    def _one_block(self, kernel: str, batch: np.ndarray, *, flags: int = 0, number: int = 0) -> None:
        block = (SETTLE_THREADS, 1, 1)
        self.device.launch(kernel, (1, 1, 1), block, batch, number=number, flags=flags, shared_bytes=4 * SETTLE_THREADS)

    def _per_pixel(self, kernel: str, batch: np.ndarray, depth: int, *, number: int = 0) -> None:
        width, height = int(batch["level"]["width"][0]), int(batch["level"]["height"][0])
        grid = (-(-width // PIXEL_BLOCK[0]), -(-height // PIXEL_BLOCK[1]), depth)
        self.device.launch(kernel, grid, PIXEL_BLOCK, batch, number=number)

    def _iterations(self, index: int) -> Array:
        """Of each pair at a level."""
        pairs = self.capacity.pairs
        return self.buffers["iterations"][index * pairs : (index + 1) * pairs]
