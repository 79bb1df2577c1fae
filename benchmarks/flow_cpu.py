"""TV-L1 on one core: our engine beside OpenCV's `DualTVL1OpticalFlow`, pair by pair in turn.

For every pair OpenCV is timed once and ours twice, before and after it, of which the mean counts, for each
instruction set; so other work on the machine hits both alike. Ratios are of the means over all pairs. Beside the
endpoint error between the two stands OpenCV's own when its lambda changes by a millionth: what is chaotic in a pair,
no implementation can reproduce.

Example:
    python benchmarks/flow_cpu.py clips/train/yoga/*.mp4 --pairs 3
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from preprocess.flow import Tvl1Params, cpu, tvl1
from preprocess.media import read_clip, to_gray
from preprocess.sample import SampleConfig, make_sample, read_flow


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds, and the result."""
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def endpoint_error(flow_2HW: np.ndarray, other_2HW: np.ndarray) -> float:
    """Mean length of the difference, in px."""
    return float(np.linalg.norm(flow_2HW - other_2HW, axis=0).mean())


def pairs_of(videos: tuple[Path, ...], *, count: int, short_side: int) -> Iterator[tuple[str, np.ndarray]]:
    """Evenly spread pairs of neighbouring frames, uint8 [2, H, W], named."""
    for path in videos:
        frames = to_gray(read_clip(path, short_side=short_side))
        for at in np.linspace(0, len(frames) - 2, count + 2).astype(int)[1:-1]:
            yield f"{path.stem} {at}", np.ascontiguousarray(frames[at : at + 2])


def compare(videos: tuple[Path, ...], *, count: int, short_side: int, noise: bool) -> None:
    """Time all pairs and print a line each, then the summary."""
    params, nudged = Tvl1Params(), Tvl1Params(lambda_=0.15 * (1 + 1e-6))
    isas = cpu.instruction_sets()
    seconds: dict[str, list[float]] = {name: [] for name in ("opencv", *isas)}
    errors, floors = [], []
    columns = " ".join(f"{isa + ' ms':>11s}" for isa in isas)
    print(f"{'pair':40s} {'size':>9s} {'OpenCV ms':>9s} {columns}     EPE px")
    for name, pair in pairs_of(videos, count=count, short_side=short_side):
        before = [timed(partial(cpu.flow_of_clip, pair, params, isa=isa)) for isa in isas]
        opencv_s, theirs = timed(partial(tvl1, pair, params, backend="opencv"))
        after = [timed(partial(cpu.flow_of_clip, pair, params, isa=isa)) for isa in isas]
        seconds["opencv"].append(opencv_s)
        for isa, (first_s, _), (second_s, _) in zip(isas, before, after, strict=True):
            seconds[isa].append((first_s + second_s) / 2)
        errors.append(endpoint_error(before[0][1][0], theirs[0]))
        if noise:
            floors.append(endpoint_error(tvl1(pair, nudged, backend="opencv")[0], theirs[0]))
        ours = " ".join(f"{1000 * seconds[isa][-1]:11.1f}" for isa in isas)
        floor = f" (OpenCV to itself {floors[-1]:.4f})" if noise else ""
        size = f"{pair.shape[2]}x{pair.shape[1]}"
        print(f"{name:40s} {size:>9s} {1000 * opencv_s:9.0f} {ours} {errors[-1]:10.4f}{floor}", flush=True)
    print(f"\n{len(errors)} pairs, one thread, mean ms a pair: OpenCV {1000 * statistics.mean(seconds['opencv']):.0f}")
    for isa in isas:
        ratio = statistics.mean(seconds["opencv"]) / statistics.mean(seconds[isa])
        each = [theirs / ours for theirs, ours in zip(seconds["opencv"], seconds[isa], strict=True)]
        spread = f"median of ratios {statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})"
        print(f"  {isa:9s} {1000 * statistics.mean(seconds[isa]):7.1f} ms  {ratio:5.1f} times as fast, {spread}")
    print(f"endpoint error to OpenCV: mean {statistics.mean(errors):.4f}, most {max(errors):.4f} px")
    if noise:
        print(f"OpenCV to itself, lambda x (1 + 1e-6): mean {statistics.mean(floors):.4f}, most {max(floors):.4f} px")


def compare_truth() -> None:
    """Endpoint error to the exact flow of the synthetic set, of both."""
    config = SampleConfig(videos_per_class=1, val_per_class=1, duration_s=2, clip_end_s=2)
    errors: dict[str, list[float]] = {"cpu": [], "opencv": []}
    with tempfile.TemporaryDirectory() as folder:
        summary = make_sample(Path(folder), config=config)
        for path in sorted(summary.videos_folder.glob("*.mp4")):
            frames = to_gray(read_clip(path, short_side=96, max_frames=2))
            truth = read_flow(path.with_suffix(".flow.npz"))
            for backend, found in errors.items():
                found.append(endpoint_error(tvl1(frames, backend=backend)[0], truth))
    ours, theirs = (statistics.mean(found) for found in errors.values())
    both = f"ours {ours:.4f}, OpenCV {theirs:.4f} px"
    print(f"synthetic set, {len(errors['cpu'])} pairs, endpoint error to the truth: {both}")


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pairs", "count", default=3, show_default=True, help="Of each video.")
@click.option("--short-side", default=256, show_default=True)
@click.option("--noise/--no-noise", default=True, show_default=True, help="Also how far OpenCV is from itself.")
def main(videos: tuple[Path, ...], count: int, short_side: int, noise: bool) -> None:
    """Compare both on VIDEOS and on the synthetic set."""
    print(f"{machine()}, OpenCV {cv2.__version__}")
    compare(videos, count=count, short_side=short_side, noise=noise)
    compare_truth()


if __name__ == "__main__":
    main()
