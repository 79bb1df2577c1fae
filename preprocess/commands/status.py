"""`preprocess status`."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.console import LocalPath

if TYPE_CHECKING:
    from preprocess.status.run_view import Lookout


RUN = LocalPath(
    file_okay=False,
    remedy="a run into one is seen in its --staging folder, by default one of ~/.cache/kineflow/staging",
)


@click.command()
@click.argument("folder", type=RUN)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, its times in epoch seconds.")
@click.option("--watch", is_flag=True, help="Show the run until it ends, live on a terminal; Ctrl-C looks away.")
def status(folder: Path, as_json: bool, watch: bool) -> None:
    """Show how far the download or flow run into FOLDER is, while it goes and after.

    Says who runs it and whether it still does, rate and time left, outcomes, why clips are missing, which sources
    pause until when, shards, flow pairs, and where the time goes. Looking on changes nothing, from any terminal that
    sees the folder.

    \b
    Examples:
        preprocess status clips
        preprocess status shards --watch
    """
    from preprocess.status.run_view import Lookout

    if as_json and watch:
        raise click.UsageError("--json or --watch, not both; run --json again and again instead")
    lookout = Lookout(folder)
    if watch:
        _watch(lookout)
    elif as_json:
        import json

        click.echo(json.dumps(lookout.look().to_document(), indent=1, sort_keys=True))
    else:
        from preprocess.status.status_view import lines

        click.echo("\n".join(lines(lookout.look())))


def _watch(lookout: "Lookout") -> None:
    from rich.console import Console

    from preprocess.status.status_view import watch

    with suppress(KeyboardInterrupt):  # how one looks away
        watch(lookout.look, console=Console(highlight=False))
