"""Look at what a network is given, or at a clip as it is stored: `python -m pipelines.show SHARDS`."""

import difflib
from pathlib import Path
from typing import Any

import click

from preprocess.console import Command, LocalPath, printable
from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.shards import Index, ShardSet
from preprocess.shards.layout import SPLITS

_MOST_ROWS = 100
"""Of a sheet: with 64 frames of 224 pixels as many take 6 GB, and a PNG has a limit too."""


def show_clip(folder: Path, *, out: Path, key: str, split: str | None = None, columns: int = 6) -> None:
    """Write the contact sheet of one clip as it is stored.

    Args:
        folder: of `index.json`.
        out: the PNG to write.
        key: of the clip.
        split: `train`, `val`, `test` or `extra`; the first that has clips if not given.
        columns: frames to show.

    Raises:
        InvalidInput: no such split or key.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: `out` cannot be written.
    """
    from pipelines.contact_sheet import contact_sheet

    shards = ShardSet(folder, split or _first_split(folder))
    keys = [shards.key(row) for row in range(len(shards))]
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=3, cutoff=0.3) or keys[:3]
        raise InvalidInput(f"no clip {key!r} in split {shards.split!r} of {folder}; try {', '.join(close)}")
    _write(out, contact_sheet(shards, clip=keys.index(key), columns=columns))


def show_input(
    folder: Path,
    *,
    out: Path,
    split: str | None = None,
    epoch: int = 0,
    position: int = 0,
    clips: int = 3,
    columns: int = 6,
    **options: Any,
) -> list[str]:
    """Write a sheet of what a network is given at some positions of an epoch.

    Args:
        folder: of `index.json`.
        out: the PNG to write.
        split: `train`, `val`, `test` or `extra`; the first that has clips if not given.
        epoch: from 0.
        position: in the epoch's order, from 0; of the first clip.
        clips: to show, one after the other.
        columns: frames to show.
        options: of the loader: `seed`, `training`, `frames`, `crop`, `windows`, `crops` and so on.

    Returns:
        The keys of the clips.

    Raises:
        InvalidInput: no such split or position, more rows than a sheet has, or an option of the loader is out of range.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: `out` cannot be written.
    """
    from pipelines.input_sheet import input_sheet
    from pipelines.torch_loader import TorchClipLoader

    # one decoder's batches are another's, bit for bit; this one is always there
    batch_size = int(options.get("crops", 1))
    loader = TorchClipLoader(
        folder, split=split or _first_split(folder), device="cpu", batch_size=batch_size, **options
    )
    if epoch < 0 or clips < 1 or not 0 <= position < loader.sampler.positions:
        raise InvalidInput(
            f"epoch {epoch}, position {position}, {clips} clips: there are positions 0 to "
            f"{loader.sampler.positions - 1} in each epoch from 0, and at least one clip is shown"
        )
    last = min(position + clips, loader.sampler.positions)
    rows = (last - position) * loader.config.views
    if rows > _MOST_ROWS:
        raise InvalidInput(f"{rows} rows are more than the {_MOST_ROWS} of a sheet; show fewer clips, windows or crops")
    plans, batch = loader.at(epoch, range(position, last))
    _write(out, input_sheet(loader, plans, batch, epoch=epoch, columns=columns))
    loader.close()
    return list(dict.fromkeys(batch["key"]))


def _first_split(folder: Path) -> str:
    return next(iter(Index.read(folder).splits()), "train")


def _write(out: Path, sheet_HWC: Any) -> None:
    import cv2

    publish(out, cv2.imencode(".png", cv2.cvtColor(sheet_HWC, cv2.COLOR_RGB2BGR))[1].tobytes())


@click.command(cls=Command)
@click.argument("shards", type=LocalPath(exists=True, file_okay=False))
@click.option("--split", type=click.Choice(SPLITS), help="Default: the first that has clips.")
@click.option("--seed", default=0, show_default=True, help="Of the training.")
@click.option("--epoch", default=0, show_default=True)
@click.option("--position", default=0, show_default=True, help="Of the first clip shown, in the epoch's order.")
@click.option("--clips", default=3, show_default=True, help="To show, one after the other.")
@click.option("--frames", default=64, show_default=True, help="Of the window.")
@click.option("--crop", default=224, show_default=True, help="Pixels of the square crop.")
@click.option("--evaluation", is_flag=True, help="Views of a test instead of random windows, crops and flips.")
@click.option("--windows", default=1, show_default=True, help="Of a clip, with --evaluation.")
@click.option("--crops", default=1, show_default=True, help="Of a window, 1 or 3, with --evaluation.")
@click.option("--key", help="Show this clip as it is stored, whole, instead.")
@click.option("--out", type=LocalPath(dir_okay=False), default="clip.png", show_default=True)
@click.option("--columns", type=click.IntRange(1, 32), default=6, show_default=True, help="Frames to show.")
def main(
    shards: Path,
    split: str | None,
    key: str | None,
    out: Path,
    columns: int,
    clips: int,
    epoch: int,
    position: int,
    evaluation: bool,
    **options: int,
) -> None:
    """Write a picture of what a network is given of SHARDS: frames and colour-coded flow after crop and flip.

    \b
    Examples:
        python -m pipelines.show shards --seed 3 --epoch 12 --position 4096
        python -m pipelines.show shards --split val --evaluation --windows 2 --crops 3 --clips 1
        python -m pipelines.show shards --split val --key ab3dEf_hIjk_000002_000012 --out yoga.png
    """
    if key is not None:
        show_clip(shards, out=out, split=split, key=key, columns=columns)
        shown = [key]
    else:
        shown = show_input(
            shards,
            out=out,
            split=split,
            epoch=epoch,
            position=position,
            clips=clips,
            columns=columns,
            training=not evaluation,
            **options,
        )
    click.echo(f"{out}: {', '.join(map(printable, shown))}")


if __name__ == "__main__":
    main()
