"""`preprocess report`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import FILE, FOLDER
from preprocess.console import sigterm_interrupts
from preprocess.excerpt import one_line

if TYPE_CHECKING:
    from preprocess.report.content import Report

_WIDTH = 400  # characters of a reason
_SHOWN = 10  # problems on the terminal; the page and its JSON have more


@click.command()
@click.argument("shards", type=FOLDER)
@click.option(
    "--out",
    type=FILE,
    default=Path("report.html"),
    show_default=True,
    help="The page; its JSON lies beside it.",
)
@click.option("--clips", type=int, default=2000, show_default=True, help="Clips to decode, at most.")
@click.option("--frames", type=int, default=8, show_default=True, help="Flow fields of each to measure closely.")
@click.option("--per-class", type=int, default=3, show_default=True, help="Clips of each class and split to show.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw; same seed, same report.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
def report(shards: Path, out: Path, clips: int, frames: int, per_class: int, seed: int, workers: int | None) -> None:
    """Look at the clips and the flow of SHARDS, and write what there is to see as one HTML page and its JSON.

    Shown are contact sheets by class, how fast things move and whether the bound of the flow fits, still stretches and
    duplicates, how much of the motion is the camera's, clips that are unlike their class, JPEG sizes, what was lost,
    and the parameters. Counts and sizes are of all clips; what needs pixels is measured on a sample, and says so. The
    page needs nothing but a browser, and nothing is written to SHARDS.

    \b
    Examples:
        preprocess report shards
        preprocess report shards --clips 10000 --out pages/kinetics.html

    Exit status: 0 done, 1 a shard or clip cannot be read (the report is of the others), 2 wrong usage, 3 the machine
    cannot do it.
    """
    import time

    from preprocess.paths import make_folder
    from preprocess.progress import ShowProgress
    from preprocess.report.content import Sampling
    from preprocess.report.making import check_place, json_path, make_report
    from preprocess.words import size

    check_place(out, shards=shards)
    sampling = Sampling(clips=clips, frames=frames, per_class=per_class, seed=seed)
    make_folder(out.parent)  # where that fails it does so before minutes of work, not after
    started = time.monotonic()
    with sigterm_interrupts(), ShowProgress("clips").shown() as progress:  # so that the workers are told
        made = make_report(shards, sampling=sampling, workers=workers, on_clip=progress.step)
    made.write(out)
    _print_report(made.report)
    seconds = time.monotonic() - started
    rate = f"{seconds:.1f} s, {made.report.all.sampled / seconds:.1f} clips/s"
    click.echo(f"wrote {out} ({size(out.stat().st_size)}) and {json_path(out).name} in {rate}")
    if not made.report.is_whole:
        raise SystemExit(1)


def _print_report(made: "Report") -> None:
    from preprocess.report.motion import percent

    for problem in (*made.damaged, *made.undecodable)[:_SHOWN]:
        click.echo(one_line(f"damaged: {problem.name}: {problem.reason}", length=_WIDTH))
    found = made.all
    click.echo(f"looked at: {found.sampled:,} of {found.clips:,} clips in {made.shards - len(made.damaged):,} shards")
    if found.motion and found.stillness:
        click.echo(f"bound: {found.motion.verdict_text}")
        still, equal = percent(found.stillness.still), percent(found.stillness.duplicate)
        longest = f"{found.stillness.longest_s:.1f} s"
        click.echo(
            f"still: {still} of the flow fields, the longest stretch {longest}; {equal} lie between equal frames"
        )
    if found.camera:
        click.echo(f"camera: explains {percent(found.camera.share)} of the motion")
    twice = made.duplicates
    across = sum(group.crosses_splits for group in (*twice.exact, *twice.near))
    click.echo(f"twice: {len(twice.exact):,} groups exact, {len(twice.near):,} near; {across:,} across splits")
    click.echo(f"unlike their class: {made.far.above:,} of {made.far.judged:,} clips that can be judged")
    if made.failed:
        click.echo(f"failed: {len(made.failed):,} clips, each with its reason in the report")
