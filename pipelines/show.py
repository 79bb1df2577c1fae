"""Look at a clip of a data set: `python -m pipelines.show SHARDS`."""

import difflib
from pathlib import Path

import click
import cv2

from pipelines.contact_sheet import contact_sheet
from preprocess.console import printable
from preprocess.errors import InvalidInput, KineflowError
from preprocess.paths import publish
from preprocess.shards import Index, ShardSet


def show_clip(folder: Path, *, out: Path, split: str | None = None, key: str | None = None, columns: int = 6) -> str:
    """Write the contact sheet of one clip.

    Args:
        folder: of `index.json`.
        out: the PNG to write.
        split: `train`, `val` or `test`; the first that has clips if not given.
        key: of the clip; the split's first clip if not given.
        columns: frames to show.

    Returns:
        The clip's key.

    Raises:
        InvalidInput: no such split or key.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: `out` cannot be written.
    """
    splits = Index.read(folder).splits()
    shards = ShardSet(folder, split or next(iter(splits), "train"))
    keys: list[str] = [stored.decode() for stored in shards.clips.key]
    if key is not None and key not in keys:
        close = difflib.get_close_matches(key, keys, n=3, cutoff=0.3) or keys[:3]
        raise InvalidInput(f"no clip {key!r} in split {shards.split!r} of {folder}; try {', '.join(close)}")
    clip = 0 if key is None else keys.index(key)
    sheet = contact_sheet(shards, clip=clip, columns=columns)
    publish(out, cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    return keys[clip]


@click.command()
@click.argument("shards", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Default: the first that has clips.")
@click.option("--key", help="Clip to show. Default: the first of the split.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="clip.png", show_default=True)
@click.option("--columns", type=click.IntRange(1, 32), default=6, show_default=True, help="Frames to show.")
def main(shards: Path, split: str | None, key: str | None, out: Path, columns: int) -> None:
    """Write a picture of one clip of SHARDS: frames, colour-coded flow, and what the colours mean.

    \b
    Example:
        python -m pipelines.show shards --split val --out yoga.png
    """
    try:
        shown = show_clip(shards, out=out, split=split, key=key, columns=columns)
    except KineflowError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        raise SystemExit(error.exit_status) from error
    click.echo(f"{out}: {printable(shown)}")


if __name__ == "__main__":
    main()
