"""How fast I3D trains on a GPU, in each precision and memory layout, against the same network plainly in fp32.

Plain is what one writes first: fp32, no autocast, PyTorch's layout and settings; once with TF32 convolutions, which is
how PyTorch comes, and once without. Ours is `i3d_train run`'s own step. All get the same clips, which lie on the GPU;
then the fastest of ours is fed by DALI from shards, and by memory again, in turns. The share of the peak counts the
multiplications and additions of convolutions and matrices, forward and backward, against the data sheet's dense bf16
rate, or against a large product measured here where the sheet is not known.

Needs torch, numpy, h5py, OpenCV and DALI, and no installation of this project.

Example:
    python benchmarks/train_gpu.py --seconds 440
    python benchmarks/train_gpu.py --dry        (a tiny network on the CPU: does the script run?)
"""

import argparse
import gc
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.train_clips import MemoryFeed, write_clips
from i3d_train.config import TrainConfig
from i3d_train.models import build
from i3d_train.trainer import Trainer
from pipelines import Batch
from preprocess.errors import EnvironmentProblem

PEAK_TFLOPS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312}
"""Dense bf16, from NVIDIA's data sheets, by a part of the device's name."""
SPEED_GOAL, FEED_GOAL = 3.0, 0.03
PLAIN = {"plain fp32": False, "plain fp32, TF32 convolutions": True}
"""Name to whether convolutions may round to TF32."""
OURS = {
    "fp32": {"precision": "fp32"},
    "fp32, channels last": {"precision": "fp32", "channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "fp16": {"precision": "fp16"},
    "fp16, channels last": {"precision": "fp16", "channels_last": True},
}
"""Name to what is not as by default, in the order in which they are measured."""
COMPILED = "bf16, channels last, compiled"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One row of the table."""

    clips_per_s: float
    lowest: float
    highest: float
    memory_gib: float
    """Peak of what PyTorch held."""


class Bench:
    """What all rows share.

    Args:
        arguments: of the command line.
        folder: where shards and runs go.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.steps, self.rounds = arguments.steps, arguments.rounds
        self.deadline = time.monotonic() + arguments.seconds
        self.on_gpu = not arguments.dry
        self.config = TrainConfig(
            shards=arguments.shards or write_clips(folder / "shards", **_clips(arguments)),
            out=folder / "run",
            stream=arguments.stream,
            width=arguments.width,
            frames=arguments.frames,
            crop=arguments.crop,
            batch_size=arguments.batch_size,
            steps=1_000_000,
            lr=1e-4,
            device="cuda" if self.on_gpu else "cpu",
            loader="dali",
            threads=arguments.threads,
        )
        trainer = Trainer(self.config)
        self.num_classes = trainer.model.num_classes
        self.batches: list[Batch] = [batch for _ in range(2) for batch in trainer.feed.next_step()]
        self.found: dict[str, Found] = {}
        self.skipped: dict[str, str] = {}

    def plain(self, *, tf32: bool) -> Callable[[], object]:
        """A step as one writes it first."""
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = tf32
        config = self.config
        model = build(config.model, num_classes=self.num_classes, stream=config.stream, width=config.width)
        model.to(config.device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-7)
        feed = MemoryFeed(self.batches)

        def step() -> float:
            (batch,) = feed.next_step()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[config.stream]), batch["label"])
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def ours(self, *, fed: bool = False, **changes: object) -> Callable[[], object]:
        """A step of `i3d_train run`, from memory or fed by DALI."""
        torch.backends.cudnn.allow_tf32 = True
        trainer = Trainer(replace(self.config, **changes))
        if not fed:
            trainer.feed = MemoryFeed(self.batches)
        return trainer.train_step

    def measure(self, name: str, make: Callable[[], Callable[[], object]]) -> None:
        """One row, unless there is no time or memory for it; says so then."""
        if time.monotonic() > self.deadline:
            self.skipped[name] = "no time left"
            return
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            step = make()
            self.rate(step, steps=2)
            rates = [self.rate(step, steps=self.steps) for _ in range(self.rounds)]
        except (torch.OutOfMemoryError, EnvironmentProblem):
            self.skipped[name] = "out of memory"
            return
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.on_gpu else 0.0
        self.found[name] = Found(
            clips_per_s=statistics.median(rates), lowest=min(rates), highest=max(rates), memory_gib=peak
        )
        print(f"  {name}: {statistics.median(rates):.1f} clips/s", file=sys.stderr, flush=True)

    def rate(self, step: Callable[[], object], *, steps: int) -> float:
        """Clips a second over some steps, the device idle before and after them."""
        self.wait()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        self.wait()
        return steps * self.config.batch_size / (time.perf_counter() - started)

    def wait(self) -> None:
        """Until the device is idle."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def fed_share(self, best: str) -> tuple[float, float] | None:
        """Clips a second from memory and fed by DALI, medians of rounds in turns."""
        if time.monotonic() > self.deadline:
            self.skipped["fed by DALI"] = "no time left"
            return None
        steps = [self.ours(fed=fed, **OURS[best]) for fed in (False, True)]
        for step in steps:
            self.rate(step, steps=3)
        rounds = [[self.rate(step, steps=self.steps) for step in steps] for _ in range(self.rounds)]
        memory, fed = (statistics.median(column) for column in zip(*rounds, strict=True))
        return memory, fed


def flops_of_a_clip(config: TrainConfig, *, num_classes: int) -> int:
    """Operations of forward and backward for one clip, counted on a network without numbers."""
    with torch.device("meta"):
        model = build(config.model, num_classes=num_classes, stream=config.stream, width=config.width)
        x = torch.empty(1, 3 if config.stream == "rgb" else 2, config.frames, config.crop, config.crop)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    total: int = counter.get_total_flops()
    return total


def peak_tflops(name: str) -> tuple[float, str]:
    """The device's bf16 rate, and where it is from."""
    for part, peak in PEAK_TFLOPS.items():
        if all(word in name for word in part.split()):
            return peak, "data sheet"
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started) / 1e12, "a product measured here"


def _clips(arguments: argparse.Namespace) -> dict[str, int]:
    return {"clips": 4 * arguments.batch_size, "frames": arguments.frames + 16, "side": arguments.crop * 8 // 7}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=440, help="no row is begun after so many seconds")
    parser.add_argument("--stream", choices=("rgb", "flow"), default="rgb")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=6, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8, help="that decode")
    parser.add_argument("--shards", type=Path, help="feed these and not synthetic ones")
    parser.add_argument("--dry", action="store_true", help="tiny and on the CPU")
    arguments = parser.parse_args()
    if arguments.dry:
        tiny = {"frames": 9, "crop": 32, "batch_size": 2, "width": 0.1, "steps": 1, "rounds": 2, "threads": 1}
        vars(arguments).update(tiny)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments, Path(temporary))
        for name, tf32 in PLAIN.items():
            bench.measure(name, lambda tf32=tf32: bench.plain(tf32=tf32))
        for name, changes in OURS.items():
            bench.measure(name, lambda changes=changes: bench.ours(**changes))
        best = max(OURS, key=lambda name: bench.found[name].clips_per_s if name in bench.found else 0.0)
        fed = bench.fed_share(best)
        # last, since compiling may take all the time that is left
        if arguments.dry:
            bench.skipped[COMPILED] = "dry run"
        else:
            bench.measure(COMPILED, lambda: bench.ours(precision="bf16", channels_last=True, compile=True))
        report(bench, arguments, best=best, fed=fed)


def report(bench: Bench, arguments: argparse.Namespace, *, best: str, fed: tuple[float, float] | None) -> None:
    """Print what was found, as Markdown."""
    device = torch.cuda.get_device_name() if bench.on_gpu else platform.machine()
    cudnn = torch.backends.cudnn.version() if bench.on_gpu else None
    peak, source = peak_tflops(device) if bench.on_gpu else (1.0, "none: dry run")
    flops = flops_of_a_clip(bench.config, num_classes=bench.num_classes)
    print(f"{datetime.now(UTC):%Y-%m-%d}  {device}, torch {torch.__version__}, cuDNN {cudnn}")
    print(
        f"i3d {arguments.stream} width {arguments.width:g}, {arguments.frames} frames of {arguments.crop}x"
        f"{arguments.crop}, batch {arguments.batch_size}, {flops / 1e9:.1f} GFLOP a clip forward and backward; peak "
        f"{peak:.0f} TFLOP/s ({source}); medians of {arguments.rounds} rounds of {arguments.steps} steps\n"
    )
    first, second = (bench.found.get(name) for name in PLAIN)
    print(f"| | clips/s (range) | times {' | times '.join(PLAIN)} | of the bf16 peak | peak memory, GiB |")
    print("|---|---|---|---|---|---|")
    for name, found in bench.found.items():
        times = [f"{found.clips_per_s / one.clips_per_s:.2f}" if one else "-" for one in (first, second)]
        share = found.clips_per_s * flops / (peak * 1e12)
        print(
            f"| {name} | {found.clips_per_s:.1f} ({found.lowest:.1f} to {found.highest:.1f}) | {' | '.join(times)} | "
            f"{share:.1%} | {found.memory_gib:.1f} |"
        )
    print()
    for name, reason in bench.skipped.items():
        print(f"not measured: {name} ({reason})")
    if first is not None and best in bench.found:
        print(f"{best}: {bench.found[best].clips_per_s / first.clips_per_s:.2f} times plain, goal {SPEED_GOAL:g}")
    if fed is not None:
        memory, dali = fed
        print(
            f"{best}, in turns: {memory:.1f} clips/s from memory, {dali:.1f} fed by DALI, {dali / memory - 1:+.1%}; "
            f"goal -{FEED_GOAL:.0%}"
        )


if __name__ == "__main__":
    main()
