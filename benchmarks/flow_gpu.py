"""TV-L1 on a GPU: is it right, and how fast are tiles, whole solver and the chain from video to shard.

Needs CuPy, NumPy, h5py and opencv-python-headless, and no installation of this project; measures nvImageCodec
(nvidia-nvimgcodec-cu13, nvidia-nvjpeg) if it is there. First everything is checked against the plain kernels; a wrong
result ends it. Then it times, and prints a table last. The plain baseline works as OpenCV's CUDA code does: one pair,
two kernels an iteration, the same prediction of when to test, and a wait of the host for each test. It is launched from
Python, which costs a few microseconds a kernel more than C++ would.

Example:
    python benchmarks/flow_gpu.py --seconds 420
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from preprocess.flow import Tvl1Params, cuda, opencv_cuda_params
from preprocess.flow.cuda_batch import TEST_CHANGE
from preprocess.flow.cuda_device import CudaDevice, require
from preprocess.flow.cuda_kernels import SHAPES, TileShape
from preprocess.flow.cuda_solver import Solver

WIDTH, HEIGHT = 340, 256
FLOAT_OPERATIONS, SPECIAL_OPERATIONS = 36, 3
"""Instructions a pixel and iteration, as NVRTC 13 compiles them for sm_90: additions, multiplications and the like;
square roots and reciprocals. A test of the change adds 2 of the former."""
FLOAT_LANES = {75: 64, 80: 64}
"""A multiprocessor's, by compute capability; 128 for all others. Special function units are 16 everywhere."""
CPU_LIKE = Tvl1Params()
CUDA_LIKE = replace(opencv_cuda_params(), check_every=4)
Row = tuple[str, str, str]


def scene(frames: int, *, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A textured background that turns and pans, three discs that move on their own, and noise. uint8 [T, H, W]."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (height * 2, width * 2)).astype(np.float32)
    texture = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4, 12))
    texture = cv2.normalize(texture, None, 20, 235, cv2.NORM_MINMAX)
    pan, turn = rng.uniform(-2, 2, 2), rng.uniform(-0.4, 0.4)
    discs = [(rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(-5, 5, 2), rng.uniform(15, 45)) for _ in range(3)]
    clip = np.empty((frames, height, width), np.uint8)
    for t in range(frames):
        move = cv2.getRotationMatrix2D((width, height), turn * t, 1)
        move[:, 2] += pan * t - (width / 2, height / 2)
        picture = cv2.warpAffine(texture, move, (width, height))
        for number, (start, speed, radius) in enumerate(discs):
            x, y = start + speed * t
            patch = texture[number * 9 : number * 9 + 90, :90] * 0.6 + 40 * number
            shifted = cv2.warpAffine(patch, np.float32([[1, 0, x - 45], [0, 1, y - 45]]), (width, height))
            mask = cv2.circle(np.zeros((height, width), np.uint8), (round(x), round(y)), round(radius), 1, -1)
            picture = np.where(mask > 0, shifted, picture)
        clip[t] = np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255)
    return clip


def seconds(run: Callable[[], object], *, repeats: int = 3) -> float:
    """Median time of a call, the device idle before and after it."""
    import cupy

    run()
    times = []
    for _ in range(repeats):
        cupy.cuda.Device().synchronize()
        started = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def solver_with(clip: np.ndarray, params: Tvl1Params, *, tile: TileShape | None = None, copies: int = 1) -> Solver:
    """A solver with the frames on the device; `copies` times as many pairs, all of the same frames."""
    import cupy

    pairs = (len(clip) - 1) * copies
    solver = Solver(CudaDevice(), clip.shape[1:], params, pairs=pairs, frames=len(clip), tile=tile)
    solver.use(cupy.zeros(solver.capacity.bytes, cupy.uint8))
    solver.write_frames(0, clip)
    return solver


def neighbours(clip: np.ndarray, copies: int = 1) -> list[tuple[int, int]]:
    """Pairs of neighbouring frames."""
    return [(index, index + 1) for index in range(len(clip) - 1)] * copies


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


def write_video(path: Path, clip: np.ndarray) -> None:
    """An MPEG-4 video of gray frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (clip.shape[2], clip.shape[1]))
    for frame in clip:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()


def decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, H, W, 3], and gray [T, H, W]."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(cv2.resize(read[1], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return np.stack(frames), np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames])


def encode(frames: np.ndarray, codes: np.ndarray) -> list[bytes]:
    """JPEGs of the frames and of the flow, u over v, as the project makes them."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    pictures = [*frames, *(code.reshape(-1, WIDTH) for code in codes)]
    return [cv2.imencode(".jpg", picture, quality)[1].tobytes() for picture in pictures]


def encode_on_gpu(clip: np.ndarray) -> Iterator[Row]:
    """The pictures of `encode` by nvImageCodec, where it is installed: frames uploaded, flow on the device already."""
    import cupy

    try:
        from nvidia import nvimgcodec

        encoder = nvimgcodec.Encoder(backends=[nvimgcodec.Backend(nvimgcodec.GPU_ONLY)])
    except (ImportError, RuntimeError) as error:
        yield "encode by nvImageCodec", "not measured", str(error)
        return
    quality = {"quality_type": nvimgcodec.QualityType.QUALITY, "quality_value": 95}
    color = nvimgcodec.EncodeParams(
        **quality, color_spec=nvimgcodec.ColorSpec.SYCC, chroma_subsampling=nvimgcodec.ChromaSubsampling.CSS_420
    )
    gray = nvimgcodec.EncodeParams(
        **quality, color_spec=nvimgcodec.ColorSpec.GRAY, chroma_subsampling=nvimgcodec.ChromaSubsampling.CSS_GRAY
    )
    frames = np.repeat(clip[..., None], 3, axis=3)
    flow = cupy.asarray(np.concatenate([clip, clip], axis=1)[..., None])

    def run() -> list[bytes]:
        coded = encoder.encode(list(cupy.asarray(frames)), "jpeg", params=color)
        coded += encoder.encode(list(flow), "jpeg", params=gray)
        return [bytes(picture) for picture in coded]

    shown = cv2.imdecode(np.frombuffer(run()[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    error = np.abs(shown.astype(int) - clip[0]).mean()
    if error > 3:
        sys.exit(f"WRONG: a JPEG of nvImageCodec is {error:.1f} gray levels off on average")
    rate = len(clip) / seconds(run)
    yield "encode by nvImageCodec, one thread", f"{rate:.0f} pairs/s", f"{error:.2f} gray levels off on average"


def write_shard(jpegs: list[list[bytes]]) -> int:
    """An HDF5 file in memory; its bytes."""
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file["data"] = np.frombuffer(b"".join(jpeg for clip in jpegs for jpeg in clip), np.uint8)
    return buffer.getbuffer().nbytes


def chain(clip: np.ndarray, threads: int, groups: int, params: Tvl1Params) -> Iterator[Row]:
    """Each stage alone, then all at once: threads decode and encode while three streams compute flow."""
    import cupy

    clips = 4  # of a group, which is one call of flow_of_clips and one shard
    pairs = clips * groups * (len(clip) - 1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(3) as gpu:
        path = Path(folder) / "clip.mp4"
        write_video(path, cv2.resize(clip.transpose(1, 2, 0), (0, 0), fx=2, fy=2).transpose(2, 0, 1))
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
        frames, gray = decode(path)
        codes = cuda.flow_of_clips([gray] * clips, params, quantised=True)

        def flow(number: int, group: list) -> list[np.ndarray]:
            return cuda.flow_of_clips(
                [item.result()[1] for item in group], params, quantised=True, stream=streams[number % 3]
            )

        def shard(group: list, computed: object) -> int:
            return write_shard(
                [encode(item.result()[0], code) for item, code in zip(group, computed.result(), strict=True)]
            )

        def everything() -> None:
            shards = []
            for number in range(groups):
                group = [pool.submit(decode, path) for _ in range(clips)]
                computed = gpu.submit(flow, number, group)
                shards.append((group, computed))
            with ThreadPoolExecutor(threads) as writers:
                for done in [writers.submit(shard, *item) for item in shards]:
                    done.result()

        def on_three_streams() -> None:
            calls = [
                gpu.submit(cuda.flow_of_clips, [gray] * clips, params, quantised=True, stream=streams[n % 3])
                for n in range(groups)
            ]
            for call in calls:
                call.result()

        stages = {
            "decode": lambda: list(pool.map(decode, [path] * clips * groups)),
            "flow, host to host": on_three_streams,
            "encode": lambda: list(pool.map(lambda _: encode(frames, codes[0]), range(clips * groups))),
            "whole chain": everything,
        }
        for name, run in stages.items():
            yield (
                f"{name}, {threads} threads",
                f"{pairs / seconds(run, repeats=1):.0f} pairs/s",
                f"{groups} x {clips} clips",
            )


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=420, help="start no further measurement after this many")
    parser.add_argument("--threads", type=int, default=8, help="that decode and encode")
    parser.add_argument("--pairs", type=int, default=128, help="of the inner loop's batch")
    options = parser.parse_args()
    started = time.monotonic()
    require()
    import cupy

    clip = scene(33)
    rows = check(clip[:6])
    print(f"correct after {time.monotonic() - started:.0f} s", flush=True)
    sections = (
        whole_solver(clip, started + 0.4 * options.seconds),
        chain(clip, options.threads, 6, replace(CPU_LIKE, check_every=4)),
        encode_on_gpu(clip),
        inner_loop(started + options.seconds, options.pairs),
    )
    for section in sections:
        for row in section:
            rows.append(row)
            print("...", *row, sep="  ", flush=True)
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    versions = f"CuPy {cupy.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}"
    print(f"\n{device['name'].decode()}, {device['multiProcessorCount']} multiprocessors; {versions}; {WIDTH}x{HEIGHT}")
    for name, value, remark in rows:
        print(f"{name:52s} {value:>18s}  {remark}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
