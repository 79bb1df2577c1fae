"""How fast I3D trains on a GPU, in each precision and memory layout, against the same network plainly in fp32.

Plain is what one writes first: fp32, no autocast, PyTorch's layout and settings; once with TF32 convolutions, which is
how PyTorch comes, and once without. Ours is `i3d_train run`'s own step. All get the same clips, which lie on the GPU.
The faster of ours in bf16 is fed by DALI from shards, and by memory again, in turns. The share of the peak counts the
multiplications and additions of convolutions and matrices, forward and backward, against the data sheet's dense bf16
rate, or against a large product measured here where the sheet is not known. What the goals are about is measured first.

Nothing is timed before it is known to be right: DALI's clips beside OpenCV's, and each row's first loss and gradient
beside those of the plain network without TF32, from the same weights and clips. What is further off than its precision
allows is not timed, and the exit status is 1, as it is where a row fails. For that comparison no row has dropout, whose
masks would differ. Ctrl-C ends the measuring; what was found until then is printed.

Needs torch, safetensors, numpy, h5py, OpenCV and DALI, and no installation of this project. Without DALI all but the
last comparison is measured.

Example:
    python benchmarks/train_gpu.py --seconds 330
    python benchmarks/train_gpu.py --dry        (a tiny network on the CPU: does the script run?)
"""

import argparse
import gc
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.made_up_clips import write_clips
from benchmarks.train_flops import flops_of_a_clip, peak_tflops
from benchmarks.train_plain import Loop, MemoryFeed, plain_loop
from benchmarks.train_table import Found, table
from i3d_train.config import TrainConfig
from i3d_train.trainer import Trainer
from pipelines import Batch
from preprocess.errors import EnvironmentProblem

SPEED_GOAL, FEED_GOAL = 3.0, 0.03
PLAIN = {"plain fp32": False, "plain fp32, TF32 convolutions": True}
"""Name to whether convolutions may round to TF32."""
OURS = {
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "fp32": {"precision": "fp32"},
    "fp32, channels last": {"precision": "fp32", "channels_last": True},
    "fp16": {"precision": "fp16"},
    "fp16, channels last": {"precision": "fp16", "channels_last": True},
}
"""Name to what is not as by default, in the order in which they are measured. Like PyTorch itself, fp32 here may round
to TF32 in convolutions."""
BF16 = ("bf16", "bf16, channels last")
"""Of these the faster is held against the goals."""
COMPILED = "bf16, channels last, compiled"
FED = "fed by DALI"
UNTIMED_STEPS = 3
"""Before each round of that comparison: more than DALI had time to decode in advance while the other one ran."""
CODES = 2.0
"""Largest difference between two JPEG decoders that is taken for rounding, in codes of 255."""
LOSS_ERROR = 0.05
"""A row is wrong whose first loss is off by more than this part."""
LEAST_COSINE = {"bf16": 0.3}
ORDINARY_COSINE = 0.7
"""A row is wrong whose gradient has a cosine below this, by the first word of its name. Rounding alone turns it, since
the weights are random and each of some twenty layers normalises: by autocast on a CPU, eight clips of 16 frames of
64x64 and a quarter of the width, fp16 (as exact as TF32) had 0.93 and bf16 0.62. A wrong kernel has about 0."""


class Wrong(Exception):
    """Something does not compute what it should."""


class Bench:
    """What all rows share.

    Args:
        arguments: of the command line.
        folder: where shards and runs go.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.steps, self.fed_steps, self.rounds = arguments.steps, arguments.fed_steps, arguments.rounds
        self.deadline = time.monotonic() + arguments.seconds
        self.on_gpu = not arguments.dry
        self.config = TrainConfig(
            shards=arguments.shards
            or write_clips(
                folder / "shards",
                clips=4 * arguments.batch_size,
                frames=arguments.frames + 16,
                side=arguments.crop * 8 // 7,
            ),
            out=folder / "run",
            stream=arguments.stream,
            width=arguments.width,
            frames=arguments.frames,
            crop=arguments.crop,
            batch_size=arguments.batch_size,
            steps=1_000_000,
            lr=1e-4,
            device="cuda" if self.on_gpu else "cpu",
            dropout=0.0,
            loader="torch",
            threads=arguments.threads,
        )
        self.found: dict[str, Found] = {}
        self.fed: tuple[float, float] | None = None
        self.skipped: dict[str, str] = {}
        self.wrong: dict[str, str] = {}
        self._expected: tuple[float, torch.Tensor] | None = None
        trainer = Trainer(self.config)
        self.batches, self.num_classes = two_batches(trainer), trainer.model.num_classes
        self.attempt(FED, self._take_batches_of_dali)

    def _take_batches_of_dali(self) -> None:
        """In place of OpenCV's, once they are known to be the same.

        Raises:
            Wrong: they are not.
        """
        batches = two_batches(Trainer(replace(self.config, loader="dali")))
        stream = self.config.stream
        for one, other in zip(batches, self.batches, strict=True):
            if one["key"] != other["key"]:
                raise Wrong(f"clips {one['key']} instead of {other['key']}")
            # two codes of 255 are 2 / 127.5 apart, of flow 2 / 127
            apart = float((one[stream] - other[stream].to(one[stream].device)).abs().max() * 127)
            if not apart <= CODES:
                raise Wrong(f"pixels differ from OpenCV's by up to {apart:.1f} codes")
        self.batches = batches

    def ours(self, *, fed: bool = False, **changes: object) -> Loop:
        """A step of `i3d_train run`, from memory or fed by DALI."""
        torch.backends.cudnn.allow_tf32 = True
        trainer = Trainer(replace(self.config, loader="dali" if fed else "torch", **changes))
        if not fed:
            trainer.feed = MemoryFeed(self.batches[:1])

        def first() -> float:
            done = trainer.train_step()
            while done.gradient_norm is None:  # fp16 looks for its scale, and leaves the weights as they are
                done = trainer.train_step()
            if not fed:
                trainer.feed = MemoryFeed(self.batches)
            return done.loss

        return Loop(model=trainer.model, first=first, step=trainer.train_step)

    def attempt(self, name: str, run: Callable[[], None]) -> None:
        """Measure something, and note why where it is not: wrong, or no time or memory for it."""
        if time.monotonic() > self.deadline:
            self.skipped[name] = "no time left"
            return
        try:
            run()
        except torch.OutOfMemoryError:
            self.skipped[name] = "out of memory"
        except EnvironmentProblem as error:
            self.skipped[name] = str(error)
        except Wrong as found:
            self.wrong[name] = str(found)
        except Exception as error:  # noqa: BLE001 whatever it was, the other rows can be measured
            traceback.print_exception(error)
            self.wrong[name] = repr(error)

    def measure(self, name: str, make: Callable[[], Loop]) -> None:
        """One row, if it can be had."""
        self.attempt(name, lambda: self._measure(name, make))

    def _measure(self, name: str, make: Callable[[], Loop]) -> None:
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
        loop = make()
        loss_error, cosine = self._check(loop, least=LEAST_COSINE.get(name.partition(",")[0], ORDINARY_COSINE))
        self.rate(loop.step, steps=2)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        rates = [self.rate(loop.step, steps=self.steps) for _ in self._rounds()]
        self.found[name] = Found(
            clips_per_s=statistics.median(rates),
            lowest=min(rates),
            highest=max(rates),
            memory_gib=torch.cuda.max_memory_allocated() / 2**30 if self.on_gpu else 0.0,
            loss_error=loss_error,
            cosine=cosine,
        )
        print(f"  {name}: {statistics.median(rates):.1f} clips/s", file=sys.stderr, flush=True)

    def _check(self, loop: Loop, *, least: float) -> tuple[float, float]:
        """Make the first step; how far its loss and gradient are from those of the first row.

        Raises:
            Wrong: too far.
        """
        loss = loop.first()
        gradient = torch.cat([p.grad.detach().float().flatten() for p in loop.model.parameters()]).cpu()
        if self._expected is None:
            self._expected = loss, gradient
        expected_loss, expected = self._expected
        loss_error = abs(loss / expected_loss - 1)
        cosine = float(F.cosine_similarity(gradient.double(), expected.double(), dim=0))
        if not (loss_error <= LOSS_ERROR and cosine >= least):
            raise Wrong(f"first loss {loss:.4f} instead of {expected_loss:.4f}, cosine of the gradients {cosine:.4f}")
        return loss_error, cosine

    def _rounds(self) -> Iterator[int]:
        """Number of each round; once the time is up there is no other than the first."""
        return takewhile(lambda number: number == 0 or time.monotonic() < self.deadline, range(self.rounds))

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

    @property
    def best(self) -> str:
        """The faster of ours in bf16, as far as measured."""
        return max(BF16, key=lambda name: self.found[name].clips_per_s if name in self.found else 0.0)

    def measure_fed(self) -> None:
        """Clips a second from memory and fed by DALI, medians of rounds in turns."""
        if FED not in self.skipped and FED not in self.wrong:
            self.attempt(FED, self._measure_fed)

    def _measure_fed(self) -> None:
        best = self.best
        loops = [self.ours(fed=fed, **OURS[best]) for fed in (False, True)]
        for loop in loops:
            loop.first()
            self.rate(loop.step, steps=2)
        rounds = [[self._fed_rate(loop) for loop in loops] for _ in self._rounds()]
        memory, fed = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"  {best}: {memory:.1f} clips/s from memory, {fed:.1f} {FED}", file=sys.stderr, flush=True)
        self.fed = memory, fed

    def _fed_rate(self, loop: Loop) -> float:
        self.rate(loop.step, steps=UNTIMED_STEPS)
        return self.rate(loop.step, steps=self.fed_steps)


def two_batches(trainer: Trainer) -> list[Batch]:
    """The first two that it would train on."""
    return [batch for _ in range(2) for batch in trainer.feed.next_step()]


def main() -> None:
    """Measure and print the tables; exit status 1 where something computes what it should not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=330, help="after so many no row and no further round is begun")
    parser.add_argument("--stream", choices=("rgb", "flow"), default="rgb")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=6, help="of a round")
    parser.add_argument("--fed-steps", type=int, default=50, help="of a round that is fed by DALI")
    parser.add_argument("--rounds", type=int, default=3, help="of a row, if there is time")
    parser.add_argument("--threads", type=int, default=8, help="that decode")
    parser.add_argument("--shards", type=Path, help="feed these and not synthetic ones")
    parser.add_argument("--dry", action="store_true", help="tiny and on the CPU")
    arguments = parser.parse_args()
    if arguments.dry:
        # of fewer than 17 frames two are left in I3D's last blocks, where bf16 is wrong on some CPUs, see `Trainer`
        vars(arguments).update(frames=17, crop=32, batch_size=8, width=0.2, steps=1, fed_steps=2, rounds=2, threads=1)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments, Path(temporary))
        rows = {
            name: lambda tf32=tf32: plain_loop(bench.config, bench.batches, num_classes=bench.num_classes, tf32=tf32)
            for name, tf32 in PLAIN.items()
        }
        rows |= {name: lambda changes=changes: bench.ours(**changes) for name, changes in OURS.items()}
        with interruptible(bench):
            for name in (next(iter(PLAIN)), *BF16):
                bench.measure(name, rows.pop(name))
            bench.measure_fed()
            for name, make in rows.items():
                bench.measure(name, make)
        report(bench, arguments)
        with interruptible(bench):
            # last, since compiling may take all the time that is left
            if arguments.dry:
                bench.skipped[COMPILED] = "dry run"
            else:
                bench.measure(COMPILED, lambda: bench.ours(precision="bf16", channels_last=True, compile=True))
        report_rest(bench)
        raise SystemExit(bool(bench.wrong))


@contextmanager
def interruptible(bench: Bench) -> Iterator[None]:
    """Where Ctrl-C ends the measuring, and not the program."""
    try:
        yield
    except KeyboardInterrupt:
        bench.deadline = 0.0
        bench.skipped["what was under way"] = "interrupted"


def report(bench: Bench, arguments: argparse.Namespace) -> None:
    """Print what was found, as Markdown."""
    best = bench.best
    device = torch.cuda.get_device_name() if bench.on_gpu else platform.machine()
    cudnn = torch.backends.cudnn.version() if bench.on_gpu else None
    peak, source = peak_tflops(device) if bench.on_gpu else (1.0, "none: dry run")
    flops = flops_of_a_clip(bench.config, num_classes=bench.num_classes)
    print(f"{datetime.now(UTC):%Y-%m-%d}  {device}, torch {torch.__version__}, cuDNN {cudnn}")
    print(
        f"i3d {arguments.stream} width {arguments.width:g}, {arguments.frames} frames of {arguments.crop}x"
        f"{arguments.crop}, batch {arguments.batch_size}, {flops / 1e9:.1f} GFLOP a clip forward and backward; peak "
        f"{peak:.0f} TFLOP/s ({source}); medians of at most {arguments.rounds} rounds of "
        f"{arguments.steps} steps, {arguments.fed_steps} where DALI feeds\n"
    )
    print(table(bench.found, plain=PLAIN, flops=flops, peak=peak))
    print()
    first = bench.found.get(next(iter(PLAIN)))
    if first is not None and best in bench.found:
        print(f"{best}: {bench.found[best].clips_per_s / first.clips_per_s:.2f} times plain, goal {SPEED_GOAL:g}")
    if bench.fed is not None:
        memory, dali = bench.fed
        print(
            f"{best}, in turns: {memory:.1f} clips/s from memory, {dali:.1f} fed by DALI, {dali / memory - 1:+.1%}; "
            f"goal -{FEED_GOAL:.0%}"
        )
    sys.stdout.flush()


def report_rest(bench: Bench) -> None:
    """Print the compiled row, what was not measured, and what is wrong."""
    best = bench.best
    if COMPILED in bench.found and best in bench.found:
        found = bench.found[COMPILED]
        print(
            f"{COMPILED}: {found.clips_per_s:.1f} clips/s ({found.lowest:.1f} to {found.highest:.1f}), "
            f"{found.clips_per_s / bench.found[best].clips_per_s:.2f} times {best}; {found.memory_gib:.1f} GiB; "
            f"error of the first loss {found.loss_error:.4%}, cosine of the gradients {found.cosine:.4f}"
        )
    for name, reason in bench.skipped.items():
        print(f"not measured: {name} ({reason})")
    for name, reason in bench.wrong.items():
        print(f"WRONG: {name}: {reason}")


if __name__ == "__main__":
    main()
