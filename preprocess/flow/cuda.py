"""TV-L1 by our own engine on a CUDA GPU: many pairs at once, quantised there if asked.

Kernels are `csrc/*.cuh`, compiled for the GPU at hand when first used; their mathematics is that of the CPU engine. A
pair's flow is the same, bit for bit, whatever it is batched with. Needs CuPy; importing this module does not.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.errors import InvalidInput
from preprocess.flow import cuda_device
from preprocess.flow.cuda_device import CudaDevice, Memory, OutOfDeviceMemory
from preprocess.flow.cuda_solver import Array, Solver
from preprocess.flow.frames import check_frames
from preprocess.flow.params import Tvl1Params

NEEDS = "a CUDA GPU of compute capability 7.5 or more, its driver, and CuPy: pip install cupy-cuda13x nvidia-cuda-nvrtc"
BATCH_PIXELS = 256 * 340 * 256
"""Of all pairs of a batch: a clip of 10 s at 25 frames a second is one."""
MOST_PAIRS = 1024
MEMORY_SHARE = 0.5
"""Of the free device memory, at most, for one block."""

logger = logging.getLogger(__name__)
_memory = Memory()


class _Streams(threading.local):
    """A CuPy stream of the calling thread for each device, made when it is first asked for."""

    def __init__(self) -> None:
        self._of_device: dict[int, Any] = {}

    def own(self) -> Any:
        """That of the current device."""
        import cupy

        device = cupy.cuda.Device().id
        if device not in self._of_device:
            self._of_device[device] = cupy.cuda.Stream(non_blocking=True)
        return self._of_device[device]


_streams = _Streams()


def is_available() -> bool:
    """Whether CuPy, a driver and a GPU of compute capability 7.5 or more are here. Never raises."""
    return cuda_device.missing() is None


def flow_of_clip(frames_THW: np.ndarray, params: Tvl1Params, *, threads: int = 1) -> np.ndarray:  # noqa: ARG001
    """Flow of every pair of neighbours, whatever `threads` says. uint8 [T, H, W] to float32 [T-1, 2, H, W] px.

    Raises:
        EnvironmentProblem: no GPU, driver, NVRTC or memory.
    """
    return flow_of_clips([frames_THW], params)[0]  # type: ignore[no-any-return]  # an array of CuPy or NumPy


def codes_of_clip(frames_THW: np.ndarray, params: Tvl1Params, *, threads: int = 1) -> np.ndarray:  # noqa: ARG001
    """`flow_of_clip` as codes of `quantise`, made on the GPU. uint8 [T, H, W] to uint8 [T-1, 2, H, W].

    Raises:
        EnvironmentProblem: no GPU, driver, NVRTC or memory.
    """
    return flow_of_clips([frames_THW], params, quantised=True)[0]  # type: ignore[no-any-return]


def flow_of_clips(
    clips: Sequence[Array],
    params: Tvl1Params = Tvl1Params(),
    *,
    quantised: bool = False,
    on_device: bool = False,
    stream: Any = None,  # cupy.cuda.Stream
) -> list[Array]:
    """Flow of every pair of neighbours of many clips, in batches over clips of one size.

    Args:
        clips: uint8 [T, H, W] each, NumPy or CuPy; lengths and sizes may differ.
        params: of the solver.
        quantised: codes of `quantise` instead of px.
        on_device: return CuPy arrays, ready when `stream` is; else NumPy arrays in pinned memory, ready on return.
        stream: CuPy stream to work on; None takes one of the calling thread where NumPy arrays come and go, otherwise
            the current one. Calls on different streams, from different threads, overlap.

    Returns:
        For each clip float32 [T-1, 2, H, W], px a frame, or uint8 if quantised.

    Raises:
        InvalidInput: no clip, or one of wrong type or size.
        EnvironmentProblem: no GPU, driver, NVRTC or memory.
        DeviceLost: the GPU failed; this process can use it no more.
    """
    if not clips:
        raise InvalidInput("flow_of_clips needs at least one clip, got none")
    for clip in clips:
        check_frames(clip)
    cuda_device.require()
    import cupy

    dtype = np.dtype(np.uint8 if quantised else np.float32)
    empty = cupy.empty if on_device else cuda_device.pinned_empty
    on_host = not on_device and all(isinstance(clip, np.ndarray) for clip in clips)
    with cuda_device.failures(), stream or (_streams.own() if on_host else nullcontext()):
        results = [empty((len(clip) - 1, 2, *clip.shape[1:]), dtype) for clip in clips]
        try:
            for size in sorted({clip.shape[1:] for clip in clips}):
                members = [index for index, clip in enumerate(clips) if clip.shape[1:] == size]
                _solve_one_size([clips[index] for index in members], [results[index] for index in members], params)
        finally:  # after an error too: copies under way to pinned memory must not outlive it
            if not on_device:
                cupy.cuda.get_current_stream().synchronize()
    return results


@dataclass(frozen=True)
class Piece:
    """Pairs `start` to `stop` of clip number `clip`, in one batch."""

    clip: int
    start: int
    stop: int


def batches(pairs_of_clips: Sequence[int], most_pairs: int) -> Iterator[list[Piece]]:
    """Consecutive pieces, `most_pairs` pairs a batch. Pairs of a piece share frames; pieces share none."""
    batch: list[Piece] = []
    room = most_pairs
    for clip, pairs in enumerate(pairs_of_clips):
        start = 0
        while start < pairs:
            stop = min(pairs, start + room)
            batch.append(Piece(clip, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield batch
                batch, room = [], most_pairs
    if batch:
        yield batch


def _solve_one_size(clips: list[Array], results: list[Array], params: Tvl1Params) -> None:
    """Flow of clips of one size into `results`."""
    size = clips[0].shape[1:]
    lengths = [len(result) for result in results]
    pairs = max(1, min(sum(lengths), MOST_PAIRS, BATCH_PIXELS // (size[0] * size[1])))
    solver = _fitting_solver(size, params, lengths, pairs)
    try:
        _solve_batches(solver, clips, results)
    except OutOfDeviceMemory as error:
        pairs = solver.capacity.pairs // 2
        if not pairs:
            raise
        logger.warning("%s; trying again with batches of %d pairs instead of %d", error, pairs, solver.capacity.pairs)
        _solve_batches(_solver(size, params, lengths, pairs), clips, results)


def _fitting_solver(size: tuple[int, int], params: Tvl1Params, lengths: list[int], pairs: int) -> Solver:
    """With as many pairs as the free memory is meant for, `pairs` at most."""
    limit = max(cuda_device.free_bytes() * MEMORY_SHARE, _memory.largest())
    solver = _solver(size, params, lengths, pairs)
    if solver.capacity.bytes > limit:
        pairs = max(1, int(pairs * limit / solver.capacity.bytes))
        solver = _solver(size, params, lengths, pairs)
    return solver


def _solver(size: tuple[int, int], params: Tvl1Params, lengths: list[int], pairs: int) -> Solver:
    frames = max(sum(piece.stop - piece.start + 1 for piece in batch) for batch in batches(lengths, pairs))
    return Solver(CudaDevice(), size, params, pairs=pairs, frames=frames)


def _solve_batches(solver: Solver, clips: list[Array], results: list[Array]) -> None:
    with _memory.block(solver.capacity.bytes) as memory:
        solver.use(memory)
        for batch in batches([len(result) for result in results], solver.capacity.pairs):
            _solve_batch(solver, batch, clips, results)


def _solve_batch(solver: Solver, batch: list[Piece], clips: list[Array], results: list[Array]) -> None:
    pair_frames: list[tuple[int, int]] = []
    frames = 0
    for piece in batch:
        solver.write_frames(frames, clips[piece.clip][piece.start : piece.stop + 1])
        pair_frames += [(frames + i, frames + i + 1) for i in range(piece.stop - piece.start)]
        frames += piece.stop - piece.start + 1
    solver.solve(pair_frames)
    first = 0
    for piece in batch:
        target = results[piece.clip][piece.start : piece.stop]
        pairs = piece.stop - piece.start
        if isinstance(target, np.ndarray):  # by way of the solver's own buffer
            out = solver.buffers["out"].view(target.dtype)[: target.size].reshape(target.shape)
            solver.write_result(first, pairs, out)
            solver.device.read(out, target)
        else:
            solver.write_result(first, pairs, target)
        first += pairs
