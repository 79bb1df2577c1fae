"""The `i3d_train` command line: options in, one library call, lines out.

PyTorch and what needs it are imported inside the commands, so that `--help` answers at once.
"""

import json
import signal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from i3d_train.config import DEVICES, LOADERS, PRECISIONS, TrainConfig
from i3d_train.models import MODELS
from preprocess.console import CommandGroup, printable, show_log
from preprocess.shards.layout import SPLITS

if TYPE_CHECKING:
    from i3d_train.evaluate import Evaluation
    from i3d_train.predict import Prediction
    from i3d_train.train import TrainSummary

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(path_type=Path)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("kineflow"), prog_name="i3d_train")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, not only what goes wrong.")
def main(verbose: bool) -> None:
    """Train I3D on shards of frames and flow, and use what came of it."""
    show_log(verbose)


@main.command()
@click.option("--shards", required=True, type=FOLDER, help="Folder of index.json, from `preprocess flow`.")
@click.option("--out", required=True, type=OUTPUT, help="Folder of the run.")
@click.option(
    "--model", type=click.Choice(list(MODELS)), default=TrainConfig.model, show_default=True, help="Which network."
)
@click.option("--stream", default=TrainConfig.stream, show_default=True, help="What the network sees: rgb or flow.")
@click.option("--frames", default=TrainConfig.frames, show_default=True, help="Consecutive frames of a clip.")
@click.option("--crop", default=TrainConfig.crop, show_default=True, help="Pixels of the square random crop.")
@click.option("--batch-size", default=TrainConfig.batch_size, show_default=True, help="Clips a step.")
@click.option("--steps", type=int, help="Length of the run; or give --epochs.")
@click.option("--epochs", type=int, help="Length in passes over the train split.  [default: 100]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.1 x batch size / 384]")
@click.option("--momentum", default=TrainConfig.momentum, show_default=True, help="Of SGD.")
@click.option("--weight-decay", default=TrainConfig.weight_decay, show_default=True, help="L2 penalty.")
@click.option(
    "--lr-drop",
    "lr_drop_steps",
    type=int,
    multiple=True,
    help="Divide the rate by 10 after this step; repeatable.  [default: 84 % and 94 % of the run]",
)
@click.option("--bn-momentum", type=float, help="Of BatchNorm's running averages.  [default: 10 / steps, 0.001 to 0.1]")
@click.option(
    "--flip/--no-flip",
    default=TrainConfig.flip,
    show_default=True,
    help="Mirror every other clip; wrong where left and right are classes.",
)
@click.option("--seed", default=TrainConfig.seed, show_default=True, help="Of weights, dropout and data.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=TrainConfig.device,
    show_default=True,
    help="auto is a GPU where there is one.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=TrainConfig.precision,
    show_default=True,
    help="auto is bf16 on a GPU.",
)
@click.option("--validate-every", type=int, help="Steps between validations, 0 only at the end.  [default: an epoch]")
@click.option(
    "--checkpoint-every",
    default=TrainConfig.checkpoint_every,
    show_default=True,
    help="Steps between checkpoints.",
)
@click.option("--keep", default=TrainConfig.keep, show_default=True, help="How many checkpoints stay.")
@click.option(
    "--loader",
    type=click.Choice(LOADERS),
    default=TrainConfig.loader,
    show_default=True,
    help="auto is DALI where it is installed.",
)
@click.option("--threads", default=TrainConfig.threads, show_default=True, help="CPU threads that decode.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --out.")
@click.option("--weights", type=FILE, help="Start from these weights, .npz or .pt.")
def run(**options: Any) -> None:
    """Train a network; the defaults are the published recipe scaled to one machine.

    The first Ctrl-C ends the run with a checkpoint, the second one at once.

    \b
    Example:
        i3d_train run --shards shards --out runs/rgb --stream rgb --epochs 50
        i3d_train run --shards shards --out runs/rgb --stream rgb --epochs 50 --resume
    """
    from rich.console import Console

    from i3d_train.progress import ShowProgress
    from i3d_train.train import train

    # click gives an empty tuple for an option that was not used
    options["lr_drop_steps"] = options["lr_drop_steps"] or None
    config = TrainConfig(**options)
    with ShowProgress(Console(stderr=True)) as observe, StopSignal() as stop:
        summary = train(config, observe=observe, should_stop=stop)
    _print_summary(summary)
    if not summary.finished:
        click.echo(f"stopped after step {summary.step} of {summary.steps}; go on with --resume", err=True)
        raise click.exceptions.Exit(1)


@main.command()
@click.option("--shards", required=True, type=FOLDER, help="Folder of index.json.")
@click.option("--weights", required=True, type=FILE, help=".npz of a released network or .pt of a run.")
@click.option("--split", type=click.Choice(SPLITS), default="val", show_default=True, help="Which clips.")
@click.option("--stream", help="What the weights should be for, as a check.  [default: what they are for]")
@click.option("--frames", default=250, show_default=True, help="Consecutive frames around the middle of a clip.")
@click.option("--crop", default=224, show_default=True, help="Pixels of the square centre crop.")
@click.option("--batch-size", default=4, show_default=True, help="Clips a forward pass.")
@click.option("--labels", type=FILE, help="Class names of the weights, one a line, where they carry none.")
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="auto is a GPU where there is one."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True, help="auto is bf16 on a GPU."
)
@click.option(
    "--loader",
    type=click.Choice(LOADERS),
    default="auto",
    show_default=True,
    help="auto is DALI where it is installed.",
)
@click.option("--threads", default=4, show_default=True, help="CPU threads that decode.")
@click.option("--predictions", type=OUTPUT, help="Write each clip's answer to this file, one JSON line a clip.")
@click.option("--per-class", is_flag=True, help="Also the accuracy of each class, worst first.")
def evaluate(per_class: bool, **options: Any) -> None:
    """Print the accuracy of weights on a split of shards.

    \b
    Example:
        i3d_train evaluate --shards shards --weights runs/rgb/checkpoint-5000.pt --per-class
    """
    from rich.console import Console

    from i3d_train.evaluate import EvaluateConfig
    from i3d_train.evaluate import evaluate as evaluate_weights
    from i3d_train.progress import ShowProgress

    config = EvaluateConfig(**options)
    with ShowProgress(Console(stderr=True)) as observe:
        evaluation = evaluate_weights(config, observe=observe)
    _print_evaluation(evaluation, per_class=per_class)
    if config.predictions is not None:
        click.echo(f"wrote {config.predictions}")


@main.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--weights", required=True, type=FILE, help=".npz of a released network or .pt of a run.")
@click.option("--labels", type=FILE, help="Class names, one a line.  [default: the weights', or Kinetics-400's]")
@click.option("--top", default=5, show_default=True, help="How many classes to name.")
@click.option("--frames", default=250, show_default=True, help="How many first frames to look at, 25 a second.")
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="auto is a GPU where there is one."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True, help="auto is bf16 on a GPU."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line a video.")
def predict(videos: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Name what happens in VIDEOS; one that cannot be read is reported and the others go on.

    \b
    Example:
        i3d_train predict clips/val/yoga/ab3dEf_hIjk_000002_000012.mp4 --weights runs/rgb/checkpoint-5000.pt
    """
    from i3d_train.predict import PredictConfig
    from i3d_train.predict import predict as predict_videos

    failed = 0
    for prediction in predict_videos(videos, PredictConfig(**options)):
        failed += prediction.error is not None
        _print_prediction(prediction, as_json=as_json)
    if failed:
        click.echo(f"{failed} of {len(videos)} videos failed", err=True)
        raise click.exceptions.Exit(1)


class StopSignal:
    """Turns the first Ctrl-C, or a request to terminate, into an answer to `should_stop`."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        """Whether the run was asked to stop."""
        return self._asked

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, *_: object) -> None:
        self._asked = True
        self._restore()  # the second one is not held back

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _print_summary(summary: "TrainSummary") -> None:
    click.echo(f"loss {summary.first_loss:.4f} at first, {summary.last_loss:.4f} at last, {summary.step} steps")
    if summary.validation is not None:
        found = summary.validation
        click.echo(
            f"validation after step {found.step}: top-1 {found.top1:.4f}, top-5 {found.top5:.4f}, "
            f"loss {found.loss:.4f} on {found.clips} clips"
        )
    click.echo(f"{summary.clips_per_s:.2f} clips/s, {summary.wait_share:.1%} of the time waiting for data")
    click.echo("wrote " + ", ".join(map(str, summary.files)))


def _print_evaluation(evaluation: "Evaluation", *, per_class: bool) -> None:
    click.echo(
        f"top-1 {evaluation.top1:.4f}, top-5 {evaluation.top5:.4f}, loss {evaluation.loss:.4f} "
        f"on {evaluation.clips} clips, {evaluation.unlabelled} without a label"
    )
    if not per_class:
        return
    click.echo("top-1\ttop-5\tclips\tclass")
    for label, score in sorted(evaluation.classes.items(), key=lambda item: item[1].top1 / item[1].clips):
        shares = f"{score.top1 / score.clips:.4f}\t{score.top5 / score.clips:.4f}"
        click.echo(f"{shares}\t{score.clips}\t{printable(label)}")


def _print_prediction(prediction: "Prediction", *, as_json: bool) -> None:
    if as_json:
        record = {
            "video": str(prediction.path),
            "frames": prediction.frames,
            "norm": round(prediction.logits_norm, 4),
            "top": [[guess.label, round(guess.probability, 6), round(guess.logit, 4)] for guess in prediction.guesses],
            "error": prediction.error,
        }
        click.echo(json.dumps(record))
        return
    click.echo(printable(str(prediction.path)))
    if prediction.error is not None:
        click.echo(f"Error: {printable(prediction.error)}", err=True)
    for guess in prediction.guesses:
        click.echo(f"  {guess.probability:.4f}  {guess.logit:8.3f}  {printable(guess.label)}")
