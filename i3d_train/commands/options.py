"""Types and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from i3d_train.config import DEVICES, LOADERS, PRECISIONS

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(path_type=Path)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a network runs and in which precision."""
    for option in (
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="auto",
            show_default=True,
            help="auto is bf16 on a GPU, otherwise fp32.",
        ),
        click.option(
            "--device",
            type=click.Choice(DEVICES),
            default="auto",
            show_default=True,
            help="auto is a GPU where there is one.",
        ),
    ):
        command = option(command)
    return command


def loader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What decodes, and with how many threads."""
    for option in (
        click.option("--threads", default=4, show_default=True, help="CPU threads that decode."),
        click.option(
            "--loader",
            type=click.Choice(LOADERS),
            default="auto",
            show_default=True,
            help="auto is DALI where it is installed.",
        ),
    ):
        command = option(command)
    return command
