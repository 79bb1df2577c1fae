"""`i3d_train features`."""

from pathlib import Path
from typing import Any

import click

from i3d_train.commands.options import FILE, OUT_FILE, SHARDS, WEIGHTS, WEIGHTS_HELP, loader_options, machine_options
from preprocess.console import LocalPath, printable, sigterm_interrupts
from preprocess.shards.layout import SPLITS


@click.command()
@click.argument("videos", nargs=-1, type=LocalPath())
@click.option("--weights", required=True, type=WEIGHTS, help=WEIGHTS_HELP)
@click.option("--out", required=True, type=OUT_FILE, help="File to write: .h5, or .npz, which is made in memory.")
@click.option("--shards", type=SHARDS, help="Folder or address of index.json, instead of VIDEOS.")
@click.option("--split", type=click.Choice(SPLITS), default="val", show_default=True, help="Which clips of the shards.")
@click.option("--clips", type=FILE, help="List of the clips of shards, such as fold1.csv of `preprocess index`.")
@click.option("--frames", type=int, help="Frames seen at once; longer clips are seen in parts.  [default: 250 for i3d]")
@click.option("--longest", default=3000, show_default=True, help="Frames of the longest video taken.")
@click.option(
    "--crop",
    type=int,
    help="Pixels of the square centre crop.  [default: the network's own, 224 for i3d, or the short side of the frames "
    "that it was trained on, where that is less]",
)
@machine_options
@loader_options
def features(videos: tuple[Path, ...], **options: Any) -> None:
    """Write what a network sees in VIDEOS or shards: a feature for each clip, and one for each step with its time.

    A step of I3D is 8 frames; a feature has 1024 numbers. One video that cannot be read is reported, the others go on.

    \b
    Example:
        i3d_train features --shards shards --split val --weights runs/rgb/best.pt --out features.h5
        i3d_train features a.mp4 b.mp4 --weights runs/rgb/best.pt --out features.npz

    Exit status: 0 all clips have features, 1 some have none.
    """
    from rich.console import Console

    from i3d_train.features import FeaturesConfig, extract
    from i3d_train.progress import ShowProgress

    config = FeaturesConfig(videos=videos, **options)
    with sigterm_interrupts(), ShowProgress(Console(stderr=True)) as observe:
        report = extract(config, observe=observe)
    for key, reason in report.failed.items():
        click.echo(printable(f"{key}: {reason}"), err=True)
    if report.clips:
        click.echo(f"{report.clips} clips, {report.steps} steps, {report.size} numbers a feature")
        click.echo(printable(f"wrote {config.out}"))
    if report.clips < report.total:
        click.echo(f"{report.total - report.clips} of {report.total} clips have no features", err=True)
        raise click.exceptions.Exit(1)
