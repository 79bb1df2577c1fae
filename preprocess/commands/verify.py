"""`preprocess verify`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import FOLDER
from preprocess.excerpt import one_line

if TYPE_CHECKING:
    from preprocess.shards.verify import Finding
    from preprocess.verification import Verification

_WIDTH = 400  # characters of a finding


@click.command()
@click.argument("shards", type=FOLDER)
@click.option("--decode", is_flag=True, help="Decode every frame too; slow.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads, a shard each.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
def verify(shards: Path, decode: bool, workers: int | None, as_json: bool) -> None:
    """Check SHARDS against every promise of the format, and name shard and clip of what is broken.

    Looked at are the structure of each file, counts and offsets, where each JPEG begins and ends, its size and its
    colours, the CRC-32 of each clip, size and SHA-256 of each file, labels, keys, that index.json names all shards
    beside it, and that they were made with the parameters that it names. All are checked, and nothing is changed.

    \b
    Examples:
        preprocess verify shards
        preprocess verify shards --decode --workers 8

    Exit status: 0 all is well, 1 something is broken, 2 wrong usage, 3 a file may not be read.
    """
    from preprocess.progress import ShowProgress
    from preprocess.verification import verify_folder

    with ShowProgress("shards").shown() as progress:

        def on_shard(total: int, findings: "tuple[Finding, ...]") -> None:
            if as_json:
                return
            progress.step(total)
            for found in findings:
                progress.say(one_line(f"broken: {found}", length=_WIDTH))

        result = verify_folder(shards, decode=decode, workers=workers, on_shard=on_shard)
    if as_json:
        _print_json(result)
    else:
        _print_verification(result, shards)
    if result.findings:
        raise SystemExit(1)


def _print_verification(result: "Verification", shards: Path) -> None:
    """The result in two or three lines; findings of single shards are told as they come."""
    from preprocess.shards.index import INDEX_NAME
    from preprocess.words import size

    for found in result.findings:
        if found.shard == INDEX_NAME:
            click.echo(one_line(f"broken: {found}", length=_WIDTH))
    read, rate = size(result.bytes), size(result.bytes / result.seconds)
    click.echo(f"checked: {result.shards} shards, {result.clips} clips, {read} in {result.seconds:.1f} s ({rate}/s)")
    if not result.findings:
        click.echo("nothing is broken")
        return
    click.echo(f"broken: {len(result.damaged)} shards, {len(result.findings)} findings")
    if result.damaged:
        click.echo(one_line(f"`preprocess repair {shards} CLIPS` makes them again from the clips", length=_WIDTH))


def _print_json(result: "Verification") -> None:
    import json
    from dataclasses import asdict

    document = {**asdict(result), "damaged": result.damaged}
    click.echo(json.dumps(document, indent=1, sort_keys=True))
