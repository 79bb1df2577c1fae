"""Types and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from i3d_train.options import DEVICES, LOADERS, PRECISIONS, Machine, Reading
from pipelines.feed_config import ON_BAD_SHARD
from preprocess.console import LocalPath, PlaceType

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT_FILE = LocalPath(dir_okay=False)
OUT_FOLDER = LocalPath(file_okay=False)


class WeightsType(click.Path):
    """A file of weights; the folder of a run stands for its best checkpoint."""

    name = "file or folder"

    def __init__(self, *, exists: bool = True) -> None:
        super().__init__(exists=exists, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path`."""
        path: Any = super().convert(value, param, ctx)  # click names all that its paths may be
        if not path.is_dir():
            return path
        from i3d_train.checkpoint import best_path

        return best_path(path)


SHARDS = PlaceType(exists=True, file_okay=False, path_type=Path)
WEIGHTS = WeightsType()
WEIGHTS_HELP = "Folder or .pt of a run, .safetensors, or .npz of a released network."


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a network runs and in which precision."""
    for option in (
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default=Machine.precision,
            show_default=True,
            help="auto is bf16 on a GPU, fp16 on one without bf16, otherwise fp32.",
        ),
        click.option(
            "--device",
            type=click.Choice(DEVICES),
            default=Machine.device,
            show_default=True,
            help="auto is a GPU where there is one.",
        ),
    ):
        command = option(command)
    return command


def loader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What decodes, with how many threads, and what becomes of shards that are far away or damaged."""
    for option in (
        click.option(
            "--on-bad-shard",
            type=click.Choice(ON_BAD_SHARD),
            default=Reading.on_bad_shard,
            show_default=True,
            help="Stop at a shard or clip that cannot be read, or skip and count it.",
        ),
        click.option(
            "--cache-gb",
            default=Reading.cache_gb,
            show_default=True,
            help="Most that --cache may hold.",
        ),
        click.option(
            "--cache", type=OUT_FOLDER, help="Local folder for clip tables, and copies of shards at an address."
        ),
        click.option("--threads", default=Reading.threads, show_default=True, help="CPU threads that decode."),
        click.option(
            "--loader",
            type=click.Choice(LOADERS),
            default=Reading.loader,
            show_default=True,
            help="auto is DALI where it is installed.",
        ),
    ):
        command = option(command)
    return command
