"""`preprocess repair`."""

from pathlib import Path

import click

from preprocess.commands.options import FOLDER, address_option, worker_config
from preprocess.commands.stopping import stoppable
from preprocess.excerpt import one_line


@click.command()
@click.argument("shards", type=FOLDER)
@click.argument("clips", type=FOLDER)
@click.option("--gpus", type=int, help="GPUs to compute flow on, for shards that were made on GPUs.")
@click.option("--cpus", type=int, help="CPU worker processes; 0 is this process alone.  [default: one a core]")
@address_option
def repair(shards: Path, clips: Path, gpus: int | None, cpus: int | None, address: str | None) -> None:
    """Make the damaged and missing shards of SHARDS again from CLIPS, byte for byte as they were.

    Checks SHARDS as `preprocess verify` does, makes what is broken again with the configuration that index.json holds,
    and puts a shard in place only if it has the SHA-256 that index.json names. Sound shards are not touched.

    \b
    Examples:
        preprocess repair shards clips
        preprocess repair shards clips --cpus 8

    Exit status: 0 all is well now, 1 something is still broken, 2 wrong usage or other clips, 3 the machine cannot do
    it.
    """
    from preprocess.progress import ShowProgress
    from preprocess.repairing import repair_folder

    workers = worker_config(cpus, address, gpus=gpus)
    with stoppable(), ShowProgress("clips").shown() as progress:
        report = repair_folder(
            shards,
            clips,
            workers=workers,
            on_progress=progress.step,
            on_finding=lambda found: progress.say(one_line(f"broken: {found}", length=400)),
        )
    for name in report.repaired:
        click.echo(f"made again: {name}")
    for name, reason in report.failed.items():
        click.echo(one_line(f"not repaired: {name}: {reason}", length=400))
    click.echo(f"{report.shards} shards: {report.sound} were sound, {len(report.repaired)} made again")
    if report.failed:
        raise SystemExit(1)
