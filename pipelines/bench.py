"""How fast these shards are fed on this machine, beside the bare decode: `python -m pipelines.bench SHARDS`.

The bare decode is a loop over the same JPEGs with libjpeg-turbo (OpenCV's) on one core and nothing else: no crop, no
normalisation, no batch. Rounds of the two alternate, so that other work on the machine hits both alike, and medians are
printed. A round ends when prefetching has come to rest, so that it holds all work for as many batches as it counts. CPU
time is that of all threads of this process, and the figure to trust on a shared machine.
"""

import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preprocess.console import Command
from preprocess.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

    from pipelines.loader import Batch, Loader

_QUIET_S, _QUIET_CPU_S = 0.03, 0.003
"""No thread works when so much time takes less than so much CPU, and none wants more."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What some batches cost."""

    clips: int
    """Rows of the batches."""
    bytes: int
    """Of their JPEGs."""
    cpu_s: float
    """Of all threads."""
    wall_s: float

    @property
    def cpu_ms_a_clip(self) -> float:
        """Milliseconds of CPU."""
        return 1000 * self.cpu_s / self.clips

    @property
    def clips_s(self) -> float:
        """Clips a second of wall time."""
        return self.clips / self.wall_s

    @property
    def mb_s(self) -> float:
        """MB of JPEGs a second of wall time."""
        return self.bytes / self.wall_s / 1e6


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rounds of the feed and of the bare decode, in turns."""

    feeds: dict[int, tuple[Round, ...]]
    """By how many threads."""
    bare: tuple[Round, ...]

    def share_of_bare(self, threads: int) -> float:
        """How many clips the feed does in the CPU time in which the bare decode does one; 1 is as fast as it."""
        return median(self.bare, "cpu_ms_a_clip") / median(self.feeds[threads], "cpu_ms_a_clip")

    def speedup(self, threads: int) -> float:
        """How many clips the feed does in the time in which it does one with the first number of threads."""
        first = next(iter(self.feeds.values()))
        return statistics.median(fed.clips_s / one.clips_s for fed, one in zip(self.feeds[threads], first, strict=True))


def compare(*loaders: "Loader", rounds: int = 5, batches: int = 4) -> Comparison:
    """Measure loaders beside the bare decode of what the first one decodes; one round more warms all up.

    Args:
        loaders: with different numbers of threads; not used otherwise meanwhile.
        rounds: of each.
        batches: in a round.
    """
    feeds = [endless(loader) for loader in loaders]
    fed: dict[int, list[Round]] = {loader.threads: [] for loader in loaders}
    bare = []
    for _ in range(rounds + 1):
        places: list[tuple[int, int]] = []
        for loader, feed in zip(loaders, feeds, strict=True):
            one, delivered = _feed_round(loader, feed, batches)
            fed[loader.threads].append(one)
            places = places or delivered
        bare.append(_bare_round(loaders[0], places))
    return Comparison(feeds={threads: tuple(found[1:]) for threads, found in fed.items()}, bare=tuple(bare[1:]))


def endless(loader: "Loader") -> Iterator["Batch"]:
    """Batches, one epoch after the other."""
    while True:
        yield from loader


def cpu_s(workers: Sequence[int] = ()) -> float:
    """CPU seconds so far, of all threads of this process and of the workers.

    Args:
        workers: process ids, on Linux.
    """
    # the id of the CPU clock of a process, see CPUCLOCK_SCHED in Linux and clock_getcpuclockid(3)
    return time.process_time() + sum(time.clock_gettime(~pid << 3 | 2) for pid in workers)


def settled(workers: Sequence[int] = ()) -> float:
    """Wait until no thread of this process and of the workers works any more; the time when that began.

    Args:
        workers: process ids, on Linux.
    """
    while True:
        since, cpu = time.perf_counter(), cpu_s(workers)
        time.sleep(_QUIET_S)
        # on a busy machine a thread may want to run all that time and not be let
        if cpu_s(workers) - cpu < _QUIET_CPU_S and not any(map(_wants_to_run, (os.getpid(), *workers))):
            return since


def _wants_to_run(pid: int) -> bool:
    """Whether a thread of a process other than this one is running or waits for a core; on Linux, otherwise False."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        # a thread may end meanwhile; the state stands behind the name, which may hold anything
        with suppress(OSError):
            state = status.read_text().rpartition(")")[2].split()[0]
            if state in {"R", "D"} and int(status.parent.name) != threading.get_native_id():
                return True
    return False


def median(rounds: Sequence[Round], name: str) -> float:
    """Of a property of `Round`."""
    return float(statistics.median(getattr(one, name) for one in rounds))


def _feed_round(loader: "Loader", feed: Iterator["Batch"], batches: int) -> tuple[Round, list[tuple[int, int]]]:
    wall, cpu = time.perf_counter(), time.process_time()
    clips, places = 0, []
    for _ in range(batches):
        clips += len(next(feed)["key"])
        places.append(loader.delivered)
    if loader.device.type == "cuda":
        import torch

        torch.cuda.synchronize(loader.device)
    wall, cpu = settled() - wall, cpu_s() - cpu
    jpegs = sum(jpeg.nbytes for _, jpeg in jpegs_of(loader, places))
    return Round(clips=clips, bytes=jpegs, cpu_s=cpu, wall_s=wall), places


def _bare_round(loader: "Loader", places: list[tuple[int, int]]) -> Round:
    jpegs = jpegs_of(loader, places)
    wall, cpu = time.perf_counter(), time.process_time()
    bare_decode(jpegs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    clips = sum(len(plan.corners) for place in places for plan in loader.sampler.batch(*place))
    return Round(clips=clips, bytes=sum(jpeg.nbytes for _, jpeg in jpegs), cpu_s=cpu, wall_s=wall)


def bare_decode(jpegs: Sequence[tuple[str, "np.ndarray"]]) -> None:
    """Decode JPEGs, each whole and one after the other, and nothing else.

    Args:
        jpegs: stream and uint8 [bytes] of each.
    """
    import cv2

    modes = {"rgb": cv2.IMREAD_COLOR_RGB, "flow": cv2.IMREAD_GRAYSCALE}
    for stream, jpeg in jpegs:
        cv2.imdecode(jpeg, modes[stream])


def jpegs_of(loader: "Loader", places: Sequence[tuple[int, int]]) -> list[tuple[str, "np.ndarray"]]:
    """Stream and bytes, uint8 [bytes], of every JPEG of some batches.

    Args:
        loader: whose plan says which.
        places: epoch and number of each batch.
    """
    return [
        (stream, jpeg)
        for place in places
        for plan in loader.sampler.batch(*place)
        for stream in loader.config.streams
        for jpeg in loader.shards.jpegs(stream, plan.clip, plan.decoded)
    ]


def table(comparison: Comparison) -> str:
    """What was measured, to print."""
    names = {threads: f"feed, {threads} thread{'s' if threads > 1 else ''}" for threads in comparison.feeds}
    rows = [(names[threads], found) for threads, found in comparison.feeds.items()]
    lines = [f"{'':16}{'CPU ms/clip':>14}{'[min-max]':>18}{'clips/s':>10}{'[min-max]':>18}{'MB/s':>8}"]
    for name, rounds in (*rows, ("bare decode", comparison.bare)):
        cells = ""
        for column, width in (("cpu_ms_a_clip", 14), ("clips_s", 10)):
            found = sorted(getattr(one, column) for one in rounds)
            cells += f"{statistics.median(found):{width}.1f}{f'[{found[0]:.1f}-{found[-1]:.1f}]':>18}"
        lines.append(f"{name:16}{cells}{median(rounds, 'mb_s'):8.1f}")
    first = next(iter(comparison.feeds))
    for threads, name in names.items():
        faster = "" if threads == first else f", and gives {comparison.speedup(threads):.2f} times the clips of {first}"
        lines.append(
            f"{name}: works at {comparison.share_of_bare(threads):.0%} of the bare decode's rate, by CPU time{faster}"
        )
    return "\n".join(lines)


@click.command(cls=Command)
@click.argument("shards")
@click.option("--backend", default="auto", show_default=True, help="auto, dali or torch.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--split", default="train", show_default=True)
@click.option("--streams", default="rgb,flow", show_default=True, help="Comma-separated.")
@click.option("--frames", default=64, show_default=True)
@click.option("--crop", default=224, show_default=True)
@click.option("--batch-size", default=4, show_default=True)
@click.option(
    "--threads",
    default="4",
    show_default=True,
    help="That decode; several, comma-separated, are measured in turns, beside the first.",
)
@click.option("--cache", help="Local folder for clip tables, and copies of shards at an address.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="One more warms up.")
@click.option("--batches", type=click.IntRange(1), default=4, show_default=True, help="In a round.")
def main(shards: str, backend: str, streams: str, threads: str, rounds: int, batches: int, **options: Any) -> None:
    """Measure how fast SHARDS are fed: clips/s, CPU time a clip, bytes/s, and the distance to the bare decode.

    \b
    Examples:
        python -m pipelines.bench shards --streams rgb
        python -m pipelines.bench shards --threads 1,2,4,8
    """
    from pipelines import open_loader

    options["streams"] = tuple(streams.split(","))
    loaders = [open_loader(shards, backend=backend, threads=number, **options) for number in _numbers(threads)]
    comparison = compare(*loaders, rounds=rounds, batches=batches)
    click.echo(
        f"{datetime.now(UTC):%Y-%m-%d}  {platform.processor() or platform.machine()}, {os.cpu_count()} cores; "
        f"{type(loaders[0]).__name__} on {loaders[0].device}"
    )
    click.echo(
        f"{streams}, {options['frames']} frames of {options['crop']}x{options['crop']}, batch {options['batch_size']}, "
        f"medians of {rounds} alternating rounds of {batches} batches"
    )
    click.echo(table(comparison))


def _numbers(text: str) -> list[int]:
    """Positive numbers, each once, in their order.

    Raises:
        InvalidInput: others.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise InvalidInput(f"--threads is {text!r}; it must be a number above 0, or several with commas between")
    return list(dict.fromkeys(map(int, parts)))


if __name__ == "__main__":
    main()
