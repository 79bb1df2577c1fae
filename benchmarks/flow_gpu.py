"""TV-L1 on a GPU: is it right, and how fast are tiles, whole solver and the chain from video to shard.

Needs CuPy and NVRTC, NumPy, h5py and opencv-python-headless, and no installation of this project; measures nvImageCodec
(nvidia-nvimgcodec-cu13, nvidia-nvjpeg) if it is there. First everything is checked against the plain kernels; a wrong
result ends it. Then it times, beside a plain baseline (flow_plain.py), and prints a table last.

Example:
    python benchmarks/flow_gpu.py --seconds 420
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.flow_chain import chain, encode_on_gpu
from benchmarks.flow_plain import baseline, plain_iteration
from benchmarks.flow_scene import HEIGHT, WIDTH, neighbours, scene, seconds, solver_with
from benchmarks.rows import Row, measure
from preprocess.flow import Tvl1Params, cuda, opencv_cuda_params
from preprocess.flow.cuda_device import CudaDevice, missing
from preprocess.flow.cuda_kernels import SHAPES, TileShape
from preprocess.flow.cuda_solver import Solver

FLOAT_OPERATIONS, SPECIAL_OPERATIONS = 36, 3
"""Instructions a pixel and iteration, as NVRTC 13 compiles them for sm_90: additions, multiplications and the like;
square roots and reciprocals. A test of the change adds 2 of the former."""
FLOAT_LANES = {75: 64, 80: 64}
"""A multiprocessor's, by compute capability; 128 for all others. Special function units are 16 everywhere."""
CPU_LIKE = Tvl1Params()
CUDA_LIKE = replace(opencv_cuda_params(), check_every=4)


def check(clip: np.ndarray) -> list[Row]:
    """Rows of what agrees with what; ends the program if something does not."""
    rows = []

    def demand(what: str, found: float, most: float) -> None:
        rows.append((what, f"{found:.2g} px", f"at most {most:.2g}"))
        if not found <= most:
            sys.exit(f"WRONG: {what}: {found:.3g} px, at most {most:.2g} is right")

    plain, _ = baseline(solver_with(clip[:2], CUDA_LIKE))
    ours = cuda.flow_of_clips([clip], CUDA_LIKE)[0]
    demand("our flow and the plain baseline's, mean", np.linalg.norm(ours[0] - plain, axis=0).mean(), 0.3)
    exact = replace(CUDA_LIKE, epsilon=1e-9, inner_iterations=30)
    every = [cuda.flow_of_clips([clip[:3]], exact)[0]]
    limit = CudaDevice().shared_limit
    for name in ("a4", "b8", "d4", "e4", "f4", "g8"):
        if SHAPES[name].shared_bytes <= limit:
            solver = solver_with(clip[:3], exact, tile=SHAPES[name])
            solver.solve(neighbours(clip[:3]))
            out = solver.buffers["out"][: every[0].size].reshape(every[0].shape)
            solver.write_result(0, 2, out)
            every.append(out.get())
    worst = max(np.linalg.norm(flow - every[0], axis=1).mean() for flow in every)
    demand("flow by other tile shapes, mean", worst, 0.02)
    alone = cuda.flow_of_clip(clip[2:4], CUDA_LIKE)[0]
    demand("a pair alone and in a batch, largest", float(np.abs(alone - ours[2]).max()), 0.0)
    return rows


def inner_loop(deadline: float, pairs: int) -> Iterator[Row]:
    """Each tile shape at two sizes of the pyramid: pixel-iterations a second, share of the limits, and bytes moved.

    Tiles sum up what every iteration changed, as the default rule to stop wants it.
    """
    import cupy

    device = CudaDevice()
    attributes = cupy.cuda.Device().attributes
    clocks = attributes["MultiProcessorCount"] * attributes["ClockRate"] * 1e3  # at the highest clock
    lanes = FLOAT_LANES.get(int(cupy.cuda.Device().compute_capability), 128)
    for width, height in ((WIDTH, HEIGHT), (139, 105)):
        clip = scene(2, height=height, width=width)
        params = Tvl1Params(scales=1, warps=1, median=1, inner_iterations=48, outer_iterations=1, epsilon=1e-9)
        results: list[tuple[float, str]] = []
        for name, shape in [("plain", None), *SHAPES.items()]:
            if (shape and shape.shared_bytes > device.shared_limit) or time.monotonic() > deadline:
                continue
            solver = solver_with(clip, params, tile=shape, copies=pairs)
            solver.solve(neighbours(clip, pairs))
            batch = solver.batch_of(0, pairs)
            solver._one_block("start_warp", batch)

            def run(solver: Solver = solver, shape: TileShape | None = shape, batch: np.ndarray = batch) -> None:
                step = shape.halo if shape else 1
                for _ in range(0, 48, step):
                    if shape:
                        solver._iterate(solver.levels[0], shape, batch, pairs, step, (1 << step) - 1)
                    else:
                        plain_iteration(solver, batch, pairs)

            results.append((width * height * pairs * 48 / seconds(run), name))
        for rate, name in sorted(results, reverse=True):
            float_share = rate * (FLOAT_OPERATIONS + 2 * (name != "plain")) / clocks / lanes
            special_share = rate * SPECIAL_OPERATIONS / clocks / 16
            limits = f"FP32 {float_share:.0%}, SFU {special_share:.0%}"
            if shape := SHAPES.get(name):
                moved = rate / (width * height * shape.halo) * shape.moved_bytes(width, height)
                limits += f", {moved / 1e9:.0f} GB/s"
            yield f"iterations {width}x{height}, {pairs} pairs, {name}", f"{rate / 1e9:.1f} G px-it/s", limits


def seconds_a_batch(solvers: list[Solver], chosen: list[tuple[int, int]]) -> float:
    """Time of the pairs, to codes on the device, on a stream and in a thread for each solver; by how many these are."""
    import cupy

    height, width = solvers[0].levels[0].height, solvers[0].levels[0].width
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in solvers]
    outs = [cupy.empty((len(chosen), 2, height, width), cupy.uint8) for _ in solvers]
    cupy.cuda.Device().synchronize()  # what was written to the solvers, on another stream
    rounds = 3

    def solve(solver: Solver, stream: object, out: object) -> None:
        with stream:
            for _ in range(rounds):
                solver.solve(chosen)
                solver.write_result(0, len(chosen), out)
            stream.synchronize()

    with ThreadPoolExecutor(len(solvers)) as threads:
        taken = seconds(lambda: list(threads.map(solve, solvers, streams, outs)))
    return taken / rounds / len(solvers)


def whole_solver(clip: np.ndarray, deadline: float) -> Iterator[Row]:
    """The plain baseline, then pairs a second by batch size, from frames on the device to codes on the device.

    Several batches at a time are on as many streams, each from its own thread: as `preprocess flow` does it.
    """
    solver = solver_with(clip[:2], CUDA_LIKE)
    work = baseline(solver)[1]
    yield (
        "plain baseline, opencv-cuda",
        f"{1 / seconds(lambda: baseline(solver)):.1f} pairs/s",
        f"{work / 1e6:.1f} M px-it a pair",
    )
    for label, params in (
        ("opencv-cpu", CPU_LIKE),
        ("opencv-cpu, test every 4", replace(CPU_LIKE, check_every=4)),
        ("opencv-cuda", CUDA_LIKE),
    ):
        for streams, pairs in ((1, 1), (1, 16), (1, 64), (1, 128), (1, 256), (2, 256), (3, 256), (4, 64)):
            if time.monotonic() > deadline:
                return
            copies = -(-pairs // (len(clip) - 1))
            solvers = [solver_with(clip, params, copies=copies) for _ in range(streams)]
            taken = seconds_a_batch(solvers, neighbours(clip, copies)[:pairs])
            sizes = np.array([[level.width * level.height] for level in solvers[0].levels])
            work = float((solvers[0].iterations(pairs).get() * sizes).sum()) / pairs
            label_of_row = f"solver {label}, {streams} x batch {pairs}"
            yield label_of_row, f"{pairs / taken:.0f} pairs/s", f"{work / 1e6:.1f} M px-it a pair"


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=420, help="start no further measurement after this many")
    parser.add_argument("--threads", type=int, default=8, help="that decode and encode")
    parser.add_argument("--pairs", type=int, default=128, help="of the inner loop's batch")
    options = parser.parse_args()
    started = time.monotonic()
    if reason := missing():
        sys.exit(f"TV-L1 on CUDA cannot run here: {reason}")
    import cupy

    clip = scene(33)
    rows = check(clip[:6])
    print(f"correct after {time.monotonic() - started:.0f} s", flush=True)
    sections = {
        "whole solver": whole_solver(clip, started + 0.4 * options.seconds),
        "chain": chain(clip, options.threads, 6, replace(CPU_LIKE, check_every=4)),
        "inner loop": inner_loop(started + options.seconds, options.pairs),
        "encode by nvImageCodec": encode_on_gpu(clip),
    }
    complete = measure(sections, rows)
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    versions = f"CuPy {cupy.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}"
    print(f"\n{device['name'].decode()}, {device['multiProcessorCount']} multiprocessors; {versions}; {WIDTH}x{HEIGHT}")
    for name, value, remark in rows:
        print(f"{name:52s} {value:>18s}  {remark}")
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(not complete)


if __name__ == "__main__":
    main()
