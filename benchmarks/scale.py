"""What it costs to plan and schedule up to ten million clips: time, memory and files of the driver. No media.

The code is that of `preprocess download`, `preprocess flow`, `preprocess serve` and the feed, on lists and a manifest
that are made up; only the work itself is fake: fetching a clip, making a shard or reading its head takes no time. Each
step at each size runs in a process of its own. At the end it says which step takes more time than n log n, or more
memory a clip the more clips there are; with one of these it exits with 1.

Example:
    python benchmarks/scale.py --sizes 10000,100000,1000000,10000000
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.own_process import alone, peak_bytes
from benchmarks.scale_lists import FEW, Inputs
from benchmarks.scale_steps import STEPS, Found, on_ray

SLACK = 0.1
"""Added to the exponent of n log n: what a larger heap costs in cache misses is no fault of the algorithm."""
GROWN = 1.25
"""Factor that memory a clip may grow by from one size to the next: a dict doubles its room in steps."""
QUICK_S = 0.5
"""A step that takes less CPU time says nothing about growth."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A step at one size."""

    step: str
    clips: int
    cpu_s: float
    """User and system time."""
    base_bytes: int
    """Resident before the step: Python and its modules."""
    peak_bytes: int
    """Resident, at most."""
    found: Found

    @property
    def bytes_a_clip(self) -> float:
        """Of memory."""
        return (self.peak_bytes - self.base_bytes) / self.clips


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a step grows with the number of clips."""

    step: str
    exponent: float | None
    """Of its time; None where it is too quick to tell."""
    limit: float | None
    """That of n log n between the same sizes, and `SLACK`."""
    memory: float
    """Memory a clip at the last size, relative to that at the size before."""

    @property
    def is_good(self) -> bool:
        """No worse than n log n, and flat in memory."""
        slow = self.exponent is not None and self.limit is not None and self.exponent > self.limit
        return not slow and self.memory <= GROWN

    def __str__(self) -> str:
        time_ = "too quick to tell" if self.exponent is None else f"n^{self.exponent:.2f} (limit n^{self.limit:.2f})"
        verdict = "good" if self.is_good else "WORSE"
        return f"{self.step:16}time {time_:24}  memory a clip x{self.memory:.2f} (limit x{GROWN})  {verdict}"


def measure(step: str, function: Callable[[Inputs], Found], inputs: Inputs) -> Measured:
    """Run a step in a process of its own."""
    return alone(_measured, step, function, inputs)


def growth_of(rows: Sequence[Measured]) -> Growth:
    """Of one step, measured at two sizes or more, which rise."""
    slow = [row for row in rows if row.cpu_s >= QUICK_S]
    exponent = limit = None
    if len(slow) > 1:
        sizes = [row.clips for row in slow]
        exponent = power(sizes, [row.cpu_s for row in slow])
        limit = power(sizes, [size * math.log(size) for size in sizes]) + SLACK
    before, last = (max(row.bytes_a_clip, 1.0) for row in rows[-2:])
    return Growth(step=rows[-1].step, exponent=exponent, limit=limit, memory=last / before)


def power(sizes: Sequence[int], values: Sequence[float]) -> float:
    """What power of the size the values grow with, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _measured(step: str, function: Callable[[Inputs], Found], inputs: Inputs) -> Measured:
    base_bytes, began_s = peak_bytes(), time.process_time()
    found = function(inputs)
    return Measured(
        step=step,
        clips=inputs.clips,
        cpu_s=time.process_time() - began_s,
        base_bytes=base_bytes,
        peak_bytes=peak_bytes(),
        found=found,
    )


def _print(row: Measured) -> None:
    found = row.found
    rate = f"{found.events / found.events_cpu_s:.0f}" if found.events_cpu_s else ""
    files = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in found.files.items())
    cost = f"{row.cpu_s:9.1f}{row.cpu_s / row.clips * 1e6:11.1f}{row.peak_bytes / 1e6:9.0f}{row.bytes_a_clip:14.0f}"
    print(f"{row.step:16}{row.clips:9}{cost}{rate:>14}  {files}", flush=True)


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 10000,100000") from error
    if sizes != sorted(set(sizes)) or sizes[0] <= FEW:
        raise click.BadParameter(f"{text!r} does not rise, or has a number that is not above {FEW}")
    return sizes


@click.command()
@click.option("--sizes", default="10000,100000,1000000,10000000", show_default=True, callback=_sizes, help="Clips.")
@click.option("--step", "steps", multiple=True, type=click.Choice(list(STEPS)), help="Only this.  [default: all]")
@click.option("--ray", "ray_clips", default=2000, show_default=True, help="Clips for Ray workers; 0 leaves them out.")
def main(sizes: list[int], steps: tuple[str, ...], ray_clips: int) -> None:
    """Measure, and print two tables."""
    print(machine())
    print(f"{'step':16}{'clips':>9}{'CPU s':>9}{'us a clip':>11}{'peak MB':>9}{'bytes a clip':>14}{'clips/CPU s':>14}")
    rows: dict[str, list[Measured]] = {step: [] for step in steps or STEPS}
    for clips in sizes:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            inputs = Inputs(folder=Path(folder), clips=clips)
            inputs.make()
            for step, measured in rows.items():
                measured.append(measure(step, STEPS[step], inputs))
                _print(measured[-1])
    if ray_clips:
        _print(measure("on Ray", on_ray, Inputs(folder=Path(), clips=ray_clips)))
    growths = [growth_of(measured) for measured in rows.values() if len(measured) > 1]
    print("", *growths, sep="\n")
    sys.exit(0 if all(growth.is_good for growth in growths) else 1)


if __name__ == "__main__":
    main()
