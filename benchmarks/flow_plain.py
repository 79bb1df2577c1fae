"""The plain baseline on a GPU, which works as OpenCV's CUDA code does.

One pair, two kernels an iteration, the same prediction of when to test, and a wait of the host for each test. It is
launched from Python, which costs a few microseconds a kernel more than C++ would.
"""

import numpy as np

from preprocess.flow.cuda_batch import TEST_CHANGE
from preprocess.flow.cuda_solver import Solver


def plain_iteration(solver: Solver, batch: np.ndarray, pairs: int, *, flags: int = 0) -> None:
    """One iteration by the plain kernels."""
    level = batch["level"][0]
    grid = (-(-int(level["width"]) // 32), -(-int(level["height"]) // 8), pairs)
    solver.device.launch("plain_flow", grid, (32, 8, 1), batch, flags=flags)
    solver.device.launch("plain_dual", grid, (32, 8, 1), batch)


def baseline(solver: Solver) -> tuple[np.ndarray, int]:
    """Flow of frames 0 and 1 the way OpenCV's CUDA code makes it, and the pixel-iterations that it took."""
    import cupy

    solver.device.write(solver.buffers["pair_frames"][:2], np.array([0, 1], np.int32))
    for index in range(len(solver.levels)):
        solver._per_pixel("next_level" if index else "first_level", solver.batch_of(index, 1, finer=True), 2)
    work = 0
    sides = [0, 1]  # the plain kernels work on side 0, so the sides are swapped in the struct
    for index in reversed(range(len(solver.levels))):
        level = solver.levels[index]
        coarsest = index == len(solver.levels) - 1
        solver._per_pixel("clear_pairs" if coarsest else "resize_flow", swapped(solver.batch_of(index, 1), sides), 1)
        sides = sides if coarsest else sides[::-1]
        batch = swapped(solver.batch_of(index, 1), sides)
        solver._one_block("start_level", batch)
        change = cupy.zeros((level.height, level.stride), cupy.float32)
        batch["change"] = solver.device.address(change)
        for _ in range(solver.params.warps):
            solver._per_pixel("warp", batch, 1)
            work += level.width * level.height * baseline_iterations(solver, batch, change)
    out = cupy.empty((1, 2, solver.levels[0].height, solver.levels[0].width), cupy.float32)
    batch["flow_out"] = solver.device.address(out)
    solver._per_pixel("write_result", batch, 1)
    return out.get()[0], work


def swapped(batch: np.ndarray, sides: list[int]) -> np.ndarray:
    """The struct with the sides of flow and dual variables in that order."""
    for name in ("flow", "dual"):
        batch[name] = batch[name][0][sides]
    return batch


def baseline_iterations(solver: Solver, batch: np.ndarray, change: object) -> int:
    """The iterations of one warp; how many.

    Source: the prediction rule of `cv::cuda::OpticalFlowDual_TVL1`: every second iteration may be tested, and only when
    the last sum, less the threshold for each iteration since, has fallen below it.
    """
    enough = float(batch["largest_change"][0])
    predicted = 0.0
    most = solver.params.inner_iterations * solver.params.outer_iterations
    for number in range(most):
        tested = number % 2 == 1 and predicted < enough
        plain_iteration(solver, batch, 1, flags=TEST_CHANGE * tested)
        predicted = float(change.sum()) if tested else predicted - enough  # the host waits for the sum
        if tested and predicted <= enough:
            return number + 1
    return most
