"""`i3d_train export`."""

from pathlib import Path

import click

from i3d_train.commands.options import FILE, OUT_FILE, WEIGHTS
from preprocess.console import printable


@click.command()
@click.argument("weights", type=WEIGHTS)
@click.argument("out", type=OUT_FILE)
@click.option("--frames", type=int, help="Consecutive frames that it takes.  [default: the network's own, 64 for i3d]")
@click.option(
    "--crop",
    type=int,
    help="Pixels of the square crop.  [default: the network's own, 224 for i3d, or the short side of the frames that "
    "it was trained on, where that is less]",
)
@click.option("--labels", type=FILE, help="Class names, one a line, where WEIGHTS carry none.")
def export(weights: Path, out: Path, frames: int | None, crop: int | None, labels: Path | None) -> None:
    """Write the network of WEIGHTS as OUT, a program of torch.export (.pt2) that runs without this project.

    It takes any number of clips of that size. Class names, sizes and normalisation are in its entry kineflow.json.

    \b
    Example:
        i3d_train export runs/rgb/best.pt rgb.pt2
    """
    from i3d_train.export import ExportConfig
    from i3d_train.export import export as export_network

    done = export_network(ExportConfig(weights=weights, out=out, frames=frames, crop=crop, labels=labels))
    found = done.metadata
    click.echo(
        f"{found['model']} {found['stream']}, {len(found['labels'])} classes, {found['frames']} frames of "
        f"{found['crop']}x{found['crop']} pixels; logits differ by {done.difference:.1e} at most from the network's"
    )
    click.echo(printable(f"wrote {out}, {done.nbytes:,} bytes"))
