"""Whether the networks learn motion, and nothing else, on the synthetic set of `preprocess sample`.

The set is made into shards by the commands that a user has: sample, download, flow. Its eight classes are eight motions
of the same scenes, so one frame says nothing about the class. I3D on flow and on RGB has to learn it, a network that
sees one frame has to stay at chance, and the same flat network has to learn it from ten flow fields, or its failure
would say nothing about frames. Scores are those of the last step, on scenes that training has not seen.

The settings are the third that were tried for I3D on RGB, on another set (`--seed 1`, 32 scenes to train and 8 to
validate); the other networks take the same ones. One thread and fixed seeds, so that a run can be repeated.

Example:
    python benchmarks/learn.py
"""

import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from i3d_train.config import TrainConfig
from i3d_train.events import Event, Validated
from i3d_train.metrics import MetricsFile, smooth, smoothing_window
from i3d_train.train import train

ROOT = Path(__file__).parents[1]
CLASSES = 8
SAMPLE = {"width": 96, "height": 72}
SHORT_SIDE = 64
LIMIT_S = 600
"""Of processor time, all threads together: a run that keeps it ends within ten minutes even on one idle core."""
COMMON = {
    # the fewest that I3D takes
    "frames": 9,
    "crop": 40,
    "batch_size": 32,
    "width": 0.125,
    # mirrored, "moving left" would be "moving right"
    "flip": False,
    "schedule": "cosine",
    "warmup": 0.1,
    "lr": 0.02,
    "clip_norm": 2.0,
    "weight_decay": 1e-4,
    "dropout": 0.0,
    "seed": 0,
    "device": "cpu",
    "checkpoint_every": 10_000,
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of a run."""

    clips: int
    right: int
    """Clips whose label got the largest logit."""
    training_loss: float
    """Mean of the last steps, in nats; that of guessing is ln 8 = 2.08."""
    wall_s: float
    cpu_s: float
    metrics: MetricsFile

    @property
    def top1(self) -> float:
        """Share of clips, 0 to 1."""
        return self.right / self.clips

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy lies with 95 % confidence, clips taken as independent: Wilson's score interval."""
        z, p, n = 1.96, self.top1, self.clips
        middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A network, and what it has to reach."""

    settings: dict[str, object]
    goal: str
    reached: Callable[[Found], bool]


TRIALS = {
    "I3D on flow": Trial(
        settings={"model": "i3d", "stream": "flow", "steps": 150, "validate_every": 25},
        goal="at least 95 %",
        reached=lambda found: found.top1 >= 0.95 and found.cpu_s <= LIMIT_S,
    ),
    "I3D on RGB": Trial(
        settings={"model": "i3d", "stream": "rgb", "steps": 800, "validate_every": 100},
        goal="at least 70 %",
        reached=lambda found: found.top1 >= 0.7 and found.cpu_s <= LIMIT_S,
    ),
    "Inception-v1 on one frame": Trial(
        # a window of ten, of which `two_stream` sees the first frame
        settings={"model": "two_stream", "stream": "rgb", "frames": 10, "steps": 800, "validate_every": 100},
        goal="chance, 12.5 %, within the interval",
        reached=lambda found: found.interval[0] <= 1 / CLASSES <= found.interval[1],
    ),
    "Inception-v1 on ten flow fields": Trial(
        settings={"model": "two_stream", "stream": "flow", "frames": 10, "steps": 150, "validate_every": 25},
        goal="control, far above chance: the interval above 50 %",
        reached=lambda found: found.interval[0] > 0.5,
    ),
}


def make_shards(work: Path, *, train_scenes: int, val_scenes: int, seed: int) -> Path:
    """The synthetic set as shards, by the commands; a scene is eight clips, one of each class.

    What an earlier run left in `work` is gone on with.
    """
    folder = work / f"{train_scenes}-{val_scenes}-{seed}"
    sample, clips, shards = folder / "sample", folder / "clips", folder / "shards"
    how_many = [f"--videos-per-class={train_scenes}", f"--val-per-class={val_scenes}", f"--seed={seed}"]
    size = [f"--{name}={value}" for name, value in SAMPLE.items()]
    fetching = ["--source=directory", f"--source-dir={sample / 'videos'}", "--workers=0"]
    for command in (
        ["sample", sample, *how_many, *size],
        ["download", sample / "list.csv", f"--out={clips}", *fetching],
        ["flow", clips, f"--out={shards}", f"--short-side={SHORT_SIDE}", "--cpus=2"],
    ):
        # the list is written last; the other two see for themselves what is there
        if command[0] != "sample" or not (sample / "list.csv").exists():
            subprocess.run([sys.executable, "-m", "preprocess", *map(str, command)], cwd=ROOT, check=True)
    return shards


def run(trial: Trial, *, shards: Path, out: Path, threads: int) -> Found:
    """Train a network and score it after its last step."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()

    def tell(event: Event) -> None:
        if isinstance(event, Validated):
            spent = f"{time.process_time() - cpu_s:.0f} CPU s, {time.perf_counter() - wall_s:.0f} s"
            print(f"  step {event.step}: {event.top1:.1%} of {event.clips} clips after {spent}", flush=True)

    settings = COMMON | trial.settings
    summary = train(TrainConfig(shards=shards, out=out, threads=threads, **settings), observe=tell)
    assert summary.validation is not None
    return Found(
        clips=summary.validation.clips,
        right=round(summary.validation.top1 * summary.validation.clips),
        training_loss=summary.last_loss,
        wall_s=time.perf_counter() - wall_s,
        cpu_s=time.process_time() - cpu_s,
        metrics=MetricsFile(out, step=summary.step),
    )


def draw(found: dict[str, Found], path: Path) -> None:
    """Validation accuracy and training loss of all runs, side by side."""
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for name, one in found.items():
        accuracy.plot(*one.metrics.validation("val_top1"), "o-", markersize=3, label=name)
        steps, losses = one.metrics.losses()
        loss.plot(steps, smooth(losses, window=smoothing_window(len(losses))), label=name)
    accuracy.axhline(1 / CLASSES, color="gray", linestyle=":", label="chance")
    accuracy.set(xlabel="step", ylabel="validation top-1", ylim=(0, 1))
    loss.axhline(math.log(CLASSES), color="gray", linestyle=":", label="chance")
    loss.set(xlabel="step", ylabel="training loss, nats", ylim=(0, None))
    for axes in (accuracy, loss):
        axes.grid(alpha=0.3)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=len(found) + 1, fontsize=9)
    figure.savefig(path)


def page(found: dict[str, Found], *, picture: str, intro: list[str]) -> str:
    """The result as Markdown."""
    lines = ["# Does it learn motion?", "", *intro, ""]
    names = ["network and input", "validation top-1", "95 % interval", "goal", "reached", "steps"]
    names += ["training loss at the end", "CPU s", "wall s"]
    lines += [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, one in found.items():
        low, high = one.interval
        cells = [name, f"**{one.top1:.1%}** ({one.right} of {one.clips})", f"{low:.1%} to {high:.1%}"]
        cells += [TRIALS[name].goal, "yes" if TRIALS[name].reached(one) else "**no**"]
        cells += [str(TRIALS[name].settings["steps"]), f"{one.training_loss:.3f}"]
        cells += [f"{one.cpu_s:.0f}", f"{one.wall_s:.0f}"]
        lines += [f"| {' | '.join(cells)} |"]
    lines += ["", f"![Validation accuracy and training loss]({picture})", "", "Settings, beside the defaults:", ""]
    common = ", ".join(f"{name} {value}" for name, value in COMMON.items())
    lines += [f"- all: {common}"]
    for name in found:
        lines += [f"- {name}: {', '.join(f'{key} {value}' for key, value in TRIALS[name].settings.items())}"]
    return "\n".join(lines) + "\n"


def introduction(*, train_scenes: int, val_scenes: int, seed: int, threads: int, made_on: str) -> list[str]:
    """What was done where, in lines."""
    made = f"Written by `benchmarks/learn.py --seed {seed}` on {made_on}, load {os.getloadavg()[0]:.1f} at the end"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return [
        f"{made}; {versions}, {threads} computing thread(s).",
        "",
        f"`preprocess sample` films {train_scenes + val_scenes} scenes, {SAMPLE['width']}x{SAMPLE['height']} pixels,",
        f"in each of {CLASSES} motions, which are the classes: {train_scenes * CLASSES} clips to train on, and",
        f"{val_scenes * CLASSES} clips of other scenes to validate. `preprocess download` and `preprocess flow",
        f"--short-side {SHORT_SIDE}` make the shards. One frame says nothing about the class; nothing is mirrored.",
        "Accuracies are those after the last step, not the best ones. Settings were found on the set of `--seed 1`.",
        "The interval takes clips as independent (Wilson's). CPU seconds are of all threads, decoding and validation",
        f"included, at most {LIMIT_S}: ten minutes on one idle core. Wall seconds depend on what else the machine did.",
    ]


@click.command()
@click.option("--page", "path", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "LEARNING.md")
@click.option("--train-scenes", default=32, show_default=True, help="Eight clips each.")
@click.option("--val-scenes", default=12, show_default=True, help="Eight clips each.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option("--threads", default=1, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep sample, clips and shards here.  [default: nowhere]")
def main(path, train_scenes, val_scenes, seed, threads, work):
    """Make the set, train, print, and write the page and its picture; exit status 1 where a goal is missed."""
    torch.set_num_threads(threads)
    scenes = {"train_scenes": train_scenes, "val_scenes": val_scenes, "seed": seed}
    made_on = machine()  # before the picture makes it dirty
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        shards = make_shards((work or Path(temporary)).resolve(), **scenes)
        for name, trial in TRIALS.items():
            print(name, flush=True)
            found[name] = run(trial, shards=shards, out=Path(temporary) / name, threads=threads)
        picture = path.with_name(path.stem.lower() + ".png")
        draw(found, picture)
    text = page(found, picture=picture.name, intro=introduction(**scenes, threads=threads, made_on=made_on))
    path.write_text(text, encoding="ascii")
    print(text)
    raise SystemExit(not all(TRIALS[name].reached(one) for name, one in found.items()))


if __name__ == "__main__":
    main()
