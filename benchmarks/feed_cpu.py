"""How fast clips are fed on the CPU: `ClipLoader` (DALI) beside `TorchClipLoader` (OpenCV) on the same shards.

Rounds alternate between the two, so that other work on the machine hits both alike; medians are printed. A round
ends when prefetching has come to rest, so that it holds all work for as many batches as it counts. CPU time is that
of all threads of this process, and the figure to trust on a shared machine.

How far the feed is from the bare decode of the same JPEGs is measured by `python -m pipelines.bench`.

Example:
    python benchmarks/feed_cpu.py SHARDS --threads 2
"""

import os
import platform
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from pipelines import LOADERS, Batch, open_loader
from pipelines.bench import endless, settled
from preprocess.shards.layout import STREAMS


def one_round(feed: Iterator[Batch], batches: int) -> tuple[float, float]:
    """Milliseconds of CPU a clip, and clips a second, over the next `batches` batches."""
    wall, cpu = time.perf_counter(), time.process_time()
    clips = sum(len(next(feed)["key"]) for _ in range(batches))
    wall, cpu = settled() - wall, time.process_time() - cpu
    return 1000 * cpu / clips, clips / wall


@click.command()
@click.argument("shards", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--split", default="train", show_default=True)
@click.option("--streams", default="rgb,flow", show_default=True, help="Comma-separated.")
@click.option("--frames", default=64, show_default=True)
@click.option("--crop", default=224, show_default=True)
@click.option("--batch-size", default=4, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Of each loader; one more warms it up.")
@click.option("--batches", default=4, show_default=True, help="In a round.")
def main(shards, split, streams, frames, crop, batch_size, threads, rounds, batches):
    """Measure both loaders on SHARDS and print a table."""
    options = {"split": split, "streams": tuple(s for s in STREAMS if s in streams.split(",")), "frames": frames}
    options |= {"crop": crop, "batch_size": batch_size, "threads": threads, "device": "cpu"}
    feeds = {backend: endless(open_loader(shards, backend=backend, **options)) for backend in LOADERS}
    for feed in feeds.values():
        one_round(feed, batches)
    measured = {backend: [] for backend in feeds}
    for _ in range(rounds):
        for backend, feed in feeds.items():
            measured[backend].append(one_round(feed, batches))

    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{streams}, {frames} frames of {crop}x{crop}, batch {batch_size}, {threads} threads, {rounds} rounds")
    print(f"{'loader':8}{'CPU ms/clip':>14}{'[min-max]':>16}{'clips/s':>10}{'[min-max]':>16}")
    for backend, found in measured.items():
        cpu, rate = (sorted(column) for column in zip(*found, strict=True))
        print(
            f"{backend:8}{statistics.median(cpu):14.1f}{f'[{cpu[0]:.1f}-{cpu[-1]:.1f}]':>16}"
            f"{statistics.median(rate):10.1f}{f'[{rate[0]:.1f}-{rate[-1]:.1f}]':>16}"
        )
    medians = {backend: statistics.median(cpu for cpu, _ in found) for backend, found in measured.items()}
    print(f"torch takes {medians['torch'] / medians['dali']:.2f} times the CPU of dali")


if __name__ == "__main__":
    main()
