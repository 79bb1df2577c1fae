"""`i3d_train run`."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from i3d_train.commands.options import FILE, OUT_FOLDER, SHARDS, loader_options, machine_options
from i3d_train.config import SCHEDULES, TRANSFERS, TrainConfig
from i3d_train.models import MODELS
from i3d_train.presets import PRESETS, config_of, summary
from preprocess.console import fraction
from preprocess.shards.layout import SPLITS

if TYPE_CHECKING:
    from i3d_train.events import TrainSummary

_STANDARD_ERROR = 2


def default_option(name: str, **settings: Any) -> Callable[[Any], Any]:
    """An option whose default is that of the configuration's field of the same name."""
    field = name.partition("/")[0].removeprefix("--").replace("-", "_")
    return click.option(name, default=getattr(TrainConfig, field), show_default=True, **settings)


@click.command()
@click.option("--shards", required=True, type=SHARDS, help="Folder or address of index.json, from `preprocess flow`.")
@click.option("--out", required=True, type=OUT_FOLDER, help="Folder of the run.")
@click.option("--clips", type=FILE, help="List of the clips to use, such as fold1.csv of `preprocess index`.")
@default_option("--val-split", type=click.Choice(SPLITS), help="Validate on this; test for UCF-101 and HMDB-51.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="A named recipe; options given beside it win.")
@default_option("--model", type=click.Choice(list(MODELS)), help="Which network.")
@default_option("--stream", help="What the network sees: rgb, flow or, for networks that take them, both.")
@default_option("--width", help="Share of the network's published channels, 0 to 1.")
@click.option("--frames", type=int, help="Consecutive frames of a clip.  [default: the network's own, 64 for i3d]")
@click.option("--crop", type=int, help="Pixels of the square random crop.  [default: the network's own, 224 for i3d]")
@click.option("--short-side", type=int, help="What the shards' short side has to be, in pixels.  [default: any]")
@click.option("--fps", type=fraction, help="What the shards' frames a second have to be.  [default: any]")
@default_option("--flip/--no-flip", help="Mirror every other clip; wrong where left and right are classes.")
@default_option("--balanced", is_flag=True, help="Draw every class equally often.")
@click.option("--shuffle-shards", type=int, help="Shuffle within so many shards at a time, for a small --cache.")
@default_option("--batch-size", help="Clips a step, of each process.")
@default_option("--accumulate", help="Cut a step's clips into so many parts: less memory, the same update.")
@click.option("--steps", type=int, help="Length of the run; or give --epochs.")
@click.option("--epochs", type=int, help="Length in passes over the train split.  [default: 100]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.1 x clips a step of all processes / 384]")
@default_option("--momentum", help="Of SGD.")
@default_option("--weight-decay", help="L2 penalty.")
@default_option("--schedule", type=click.Choice(SCHEDULES), help="How the learning rate falls.")
@click.option(
    "--lr-drop",
    "lr_drop_steps",
    type=int,
    multiple=True,
    help="For step: divide the rate by 10 after this step; repeatable.  [default: 84 % and 94 % of the run]",
)
@default_option("--patience", help="For plateau: validations without a lower loss before the rate is divided by 10.")
@default_option("--warmup", help="Part of the run, 0 to 1, in which the rate first rises.")
@click.option("--clip-norm", type=float, help="Cut gradients to this length, over all parameters.  [default: never]")
@default_option("--label-smoothing", help="Part of the target, 0 to 1, that is spread over all classes.")
@click.option("--dropout", type=float, help="Before the classifier.  [default: the network's own, 0.5 for I3D]")
@click.option("--ema", type=float, help="Keep and validate a running average of the weights, with this decay a step.")
@click.option("--bn-momentum", type=float, help="Of BatchNorm's running averages.  [default: 10 / steps, 0.001 to 0.1]")
@default_option("--freeze-bn", is_flag=True, help="Leave BatchNorm's averages as they are and normalise by them.")
@default_option("--sync-bn", is_flag=True, help="BatchNorm over the clips of all processes; GPUs only.")
@default_option("--precise-bn", help="Measure BatchNorm's averages on so many batches before each validation.")
@default_option("--seed", help="Of weights, dropout and data.")
@machine_options
@default_option("--channels-last", is_flag=True, help="Channels innermost in memory.")
@default_option("--compile", is_flag=True, help="Compile the network; minutes at the start.")
@default_option("--workers", help="Processes that Ray Train starts, one a GPU where there are any; 0 is this one.")
@click.option("--address", metavar="HOST:PORT", help="Ray cluster for the workers ('auto' finds one on this machine).")
@click.option("--validate-every", type=int, help="Steps between validations, 0 only at the end.  [default: an epoch]")
@default_option("--checkpoint-every", help="Steps between checkpoints.")
@default_option("--keep", help="How many checkpoints stay, beside best.pt.")
@default_option("--tensorboard", is_flag=True, help="Write the curves for TensorBoard too.")
@loader_options
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --out.")
@click.option(
    "--weights",
    "--init",
    type=click.Path(exists=True, path_type=Path),
    help="Start from these weights: a file such as .npz, .pt or .safetensors, or the folder of a run.",
)
@click.option(
    "--transfer",
    type=click.Choice(TRANSFERS),
    help="To other classes as the paper does: without weights (original), or with them, training only the last layer "
    "(fixed) or all of it (full).",
)
@click.option("--inflate", type=FILE, help="Start from a 2-D Inception-v1, torchvision's GoogLeNet names.")
@click.pass_context
def run(context: click.Context, /, preset: str | None, **options: Any) -> None:
    """Train a network; the defaults are the published recipe scaled to one machine.

    In one process; in those of torchrun; or with --workers in those that Ray Train starts. The first Ctrl-C, or
    request to terminate, ends the run after its step with a checkpoint, the second one at once.

    A lost worker of --workers, or its node, costs time only: the run goes on from its last checkpoint, to the same
    losses, as soon as each worker has a CPU or GPU again. It ends when they have none within 15 minutes, or when three
    attempts in a row brought no new checkpoint.

    \b
    Example:
        i3d_train run --shards shards --out runs/rgb --stream rgb --epochs 50
        i3d_train run --shards shards --out runs/rgb --stream rgb --epochs 50 --resume
        i3d_train run --shards shards --out runs/flow --stream flow --preset modern --workers 8
        i3d_train run --shards ucf101 --out ucf/1 --clips fold1.csv --val-split test --init runs/rgb --transfer full
        torchrun --nproc-per-node 8 -m i3d_train run --shards shards --out runs/flow --stream flow --preset paper

    Exit status: 0 the whole run is done, 1 it was stopped or diverged (--resume goes on from its last checkpoint),
    2 wrong usage or data, 3 the machine cannot do it.
    """
    from rich.console import Console

    from i3d_train.process_group import is_first_process
    from i3d_train.progress import ShowProgress
    from i3d_train.stop_signal import StopSignal
    from i3d_train.train import train

    # click gives an empty tuple for an option that was not used
    options["lr_drop_steps"] = options["lr_drop_steps"] or None
    given = {name: value for name, value in options.items() if _was_given(context, name)}
    config = config_of(preset, **given)
    speaks = is_first_process()
    if not speaks:
        # all processes of torchrun find the same, and one of them says so
        logging.disable(logging.WARNING)
    opening = f"{summary(config)} (all of it in {config.out / 'config.json'})"
    asked = StopSignal(tell=_tell_stopping) if speaks else StopSignal()
    with ShowProgress(Console(stderr=True, quiet=not speaks), opening=opening) as observe, asked as stop:
        trained = train(config, observe=observe, should_stop=stop)
    if speaks:
        _print_summary(trained)
    if not trained.finished:
        if speaks:
            click.echo(f"stopped after step {trained.step} of {trained.steps}; go on with --resume", err=True)
        raise click.exceptions.Exit(1)


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def _tell_stopping() -> None:
    # without a GPU a step may take minutes
    line = b"stopping after this step, with a checkpoint; a second Ctrl-C stops at once\n"
    with suppress(OSError):
        os.write(_STANDARD_ERROR, b"\n" * os.isatty(_STANDARD_ERROR) + line)  # below the bar and ^C


def _print_summary(trained: "TrainSummary") -> None:
    if trained.first_loss is not None:
        click.echo(f"loss {trained.first_loss:.4f} at first, {trained.last_loss:.4f} at last, {trained.step} steps")
    if trained.validation is not None:
        found = trained.validation
        click.echo(
            f"validation after step {found.step}: top-1 {found.top1:.4f}, top-5 {found.top5:.4f}, "
            f"loss {found.loss:.4f} on {found.clips} clips; best top-1 {trained.best_top1:.4f}"
        )
    if trained.clips_per_s:  # else it was finished before
        click.echo(f"{trained.clips_per_s:.2f} clips/s, {trained.wait_share:.1%} of the time waiting for data")
    click.echo("wrote " + ", ".join(map(str, trained.files)))
