"""`i3d_train predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i3d_train.commands.options import FILE, WEIGHTS, WEIGHTS_HELP, machine_options
from preprocess.console import LocalPath, printable

if TYPE_CHECKING:
    from i3d_train.predict import Prediction


@click.command()
@click.argument("videos", nargs=-1, required=True, type=LocalPath())
@click.option("--weights", required=True, type=WEIGHTS, help=WEIGHTS_HELP)
@click.option("--labels", type=FILE, help="Class names, one a line.  [default: the weights', or Kinetics-400's]")
@click.option("--top", default=5, show_default=True, help="How many classes to name.")
@click.option("--frames", default=250, show_default=True, help="How many first frames to look at, at training's rate.")
@machine_options
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
