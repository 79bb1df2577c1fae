"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preprocess.console import LocalPath, PlaceType

if TYPE_CHECKING:
    from preprocess.config import WorkerConfig

FOLDER = LocalPath(file_okay=False)
FILE = LocalPath(dir_okay=False)
PLACE = PlaceType(file_okay=False, path_type=Path)


address_option = click.option(
    "--address", metavar="HOST:PORT", help="Ray cluster to run on ('auto' finds one on this machine)."
)
"""Where workers run."""
staging_option = click.option(
    "--staging",
    type=FOLDER,
    help="Folder on this machine for what a run into an address keeps while it goes.  [default: one of its own in the "
    "user's cache]",
)
"""What goes with `--out` at an address, for `preprocess.target.target_of`."""


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where Prometheus sees the run, for `preprocess.metrics.batch.exported`."""
    file = click.option(
        "--metrics-file",
        type=FILE,
        metavar="FILE.prom",
        help="Keep the run's metrics in this file, for node exporter's textfile collector.",
    )
    port = click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help="Answer Prometheus on http://127.0.0.1:PORT/metrics while the run goes.",
    )
    return file(port(command))


def worker_config(count: int | None, address: str | None, *, gpus: int | None = None) -> "WorkerConfig":
    """How work is spread: one process for each of `gpus`, or else `count` processes, or one a core.

    Raises:
        UsageError: both are given.
        EnvironmentProblem: this machine has fewer GPUs, and no cluster is named.
    """
    from preprocess.config import WorkerConfig
    from preprocess.gpus import require_gpus

    if gpus is not None:
        if count is not None:
            raise click.UsageError("give --gpus or --cpus, not both")
        if address is None:
            require_gpus(gpus)
        return WorkerConfig.on_gpus(gpus, address=address)
    return WorkerConfig(address=address) if count is None else WorkerConfig(workers=count, address=address)
