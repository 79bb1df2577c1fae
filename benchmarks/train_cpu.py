"""What the training loop adds on the CPU to a bare forward, backward and update, on the same batches.

The bare loop is what a tutorial has: loss, `backward`, `step`, and a look at the loss. Ours is a step of `i3d_train
run`: the same, with gradient norm, check for infinity, schedule, pace, the line in metrics.jsonl and the progress.
Both get the same clips from memory, since decoding is `feed_cpu.py`'s matter. They alternate step by step, each first
every other time, and so meet the same other work on the machine; CPU time is that of all threads of this process.

What the loop adds hardly depends on the size of the clips, so that of tiny ones it is the larger part, and is seen on a
busy machine too.

Example:
    python benchmarks/train_cpu.py
    python benchmarks/train_cpu.py --frames 9 --crop 32 --steps 100
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import click
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.made_up_clips import write_clips
from benchmarks.train_plain import MemoryFeed, plain_loop
from i3d_train.config import TrainConfig
from i3d_train.progress import ShowProgress
from i3d_train.run_folder import RunFolder
from i3d_train.trainer import Trainer

GOAL = 0.03
CLIPS = 8
WARM_UP = 3


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one step."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


@click.command()
@click.option("--frames", default=16, show_default=True)
@click.option("--crop", default=112, show_default=True)
@click.option("--batch-size", default=2, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--steps", default=40, show_default=True, help="Of each loop; some more warm it up.")
@click.option("--threads", default=1, show_default=True)
def main(frames, crop, batch_size, width, steps, threads):
    """Measure both loops and print a table; exit status 1 where ours adds more than the goal."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        shards = write_clips(Path(temporary) / "shards", clips=CLIPS, frames=frames + 1, side=crop)
        config = TrainConfig(
            shards=shards,
            out=Path(temporary) / "run",
            width=width,
            frames=frames,
            crop=crop,
            batch_size=batch_size,
            steps=WARM_UP + steps,
            lr=1e-4,
            dropout=0.0,
            device="cpu",
            loader="torch",
        )
        trainer = Trainer(config)
        batches = [batch for _ in range(CLIPS // batch_size) for batch in trainer.feed.next_step()]
        bare = plain_loop(config, batches, num_classes=trainer.model.num_classes, tf32=False)
        trainer.feed = MemoryFeed(batches)
        folder = RunFolder(config, step=0, validated=0)
        with ShowProgress(Console(file=StringIO(), force_terminal=True)) as observe:

            def our_step() -> None:
                done = trainer.train_step()
                folder.note(done)
                observe(done)

            loops = {"bare": bare.step, "ours": our_step}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
            for number in range(WARM_UP + steps):
                for name in sorted(loops, reverse=bool(number % 2)):
                    found = timed(loops[name])
                    if number >= WARM_UP:
                        times[name].append(found)

    print(f"{machine()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print(
        f"i3d width {width:g}, {frames} frames of {crop}x{crop}, batch {batch_size}, {threads} threads, {steps} steps"
    )
    print(f"{'loop':6}{'wall ms/step':>14}{'[min-max]':>18}{'CPU ms/step':>14}{'[min-max]':>18}")
    for name, found in times.items():
        columns = [sorted(1000 * value for value in column) for column in zip(*found, strict=True)]
        cells = [f"{statistics.median(c):14.1f}{f'[{c[0]:.1f}-{c[-1]:.1f}]':>18}" for c in columns]
        print(f"{name:6}{''.join(cells)}")
    pairs = list(zip(times["ours"], times["bare"], strict=True))
    added = [statistics.median(ours[clock] / bare[clock] for ours, bare in pairs) - 1 for clock in (0, 1)]
    added_ms = statistics.median(1000 * (ours[1] - bare[1]) for ours, bare in pairs)
    print(
        f"the loop adds {added[0]:+.1%} wall and {added[1]:+.1%} CPU ({added_ms:+.1f} ms), medians of the pairs; "
        f"the goal is {GOAL:.0%}"
    )
    raise SystemExit(added[1] > GOAL)


if __name__ == "__main__":
    main()
