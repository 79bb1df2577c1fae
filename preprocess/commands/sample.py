"""`preprocess sample`."""

from pathlib import Path

import click

from preprocess.commands.options import FOLDER


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--videos-per-class",
    "train",
    type=int,
    default=4,
    show_default=True,
    help="Training videos of each class.",
)
@click.option("--val-per-class", "val", type=int, default=2, show_default=True, help="Validation videos of each class.")
@click.option("--width", type=int, default=128, show_default=True, help="Pixels.")
@click.option("--height", type=int, default=96, show_default=True, help="Pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same bytes.")
def sample(folder: Path, train: int, val: int, width: int, height: int, seed: int) -> None:
    """Make a small synthetic Kinetics with known motion in FOLDER, for trying things out.

    Writes FOLDER/list.csv, FOLDER/videos/ID.mp4 and, beside each video, its exact flow as ID.flow.npz.

    \b
    Example:
        preprocess sample sample
        preprocess download sample/list.csv --source-dir sample/videos --out clips
    """
    from preprocess.sample import SampleConfig, make_sample
    from preprocess.words import size

    config = SampleConfig(videos_per_class=train, val_per_class=val, width=width, height=height, seed=seed)
    summary = make_sample(folder, config=config)
    videos = f"{summary.train_videos} training and {summary.val_videos} validation videos"
    click.echo(f"{videos} of {summary.classes} classes, {size(summary.total_bytes)}")
    click.echo(f"list:   {summary.list_path}")
    click.echo(f"videos: {summary.videos_folder}, with the true flow of each beside it")
