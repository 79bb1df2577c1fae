"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from preprocess.config import WorkerConfig

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where workers run."""
    return click.option(
        "--address", metavar="HOST:PORT", help="Ray cluster to run on ('auto' finds one on this machine)."
    )(command)


def worker_config(count: int | None, address: str | None) -> "WorkerConfig":
    """How work is spread: `count` processes, or one a core."""
    from preprocess.config import WorkerConfig

    return WorkerConfig(address=address) if count is None else WorkerConfig(workers=count, address=address)
