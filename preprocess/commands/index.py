"""`preprocess index`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import FOLDER, address_option, worker_config
from preprocess.commands.stopping import stoppable
from preprocess.console import printable
from preprocess.folds import FOLDS, SPLIT_FILES

if TYPE_CHECKING:
    from preprocess.indexing import IndexReport


@click.command()
@click.argument("dataset", type=click.Choice(list(SPLIT_FILES)))
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--splits", type=FOLDER, required=True, help="Folder of the official split files, all three folds.")
@click.option(
    "--fold",
    type=click.IntRange(min(FOLDS), max(FOLDS)),
    default=min(FOLDS),
    show_default=True,
    help="Official split that makes the clips train or test; what it leaves out is extra.",
)
@click.option(
    "--out",
    type=FOLDER,
    help="Write here, with hard links to the videos (or copies), where DIR is read-only.  [default: DIR]",
)
@click.option("--workers", type=int, help="Worker processes; 0 is this process alone.  [default: one a core]")
@address_option
def index(
    dataset: str,
    folder: Path,
    splits: Path,
    fold: int,
    out: Path | None,
    workers: int | None,
    address: str | None,
) -> None:
    """Make DIR, the videos of UCF-101 or HMDB-51, a folder of clips for `preprocess flow`.

    Every video that the official splits name is looked for in DIR, at any depth, and decoded once, whole; running the
    command again does so only with what is new or has changed. It writes manifest.jsonl, for each fold foldN.csv
    (key,label,split), and missing.csv: what is not there, what cannot be decoded, and videos that no list names.

    \b
    Examples:
        preprocess index ucf101 UCF-101 --splits ucfTrainTestlist
        preprocess index hmdb51 hmdb51_org --splits testTrainMulti_7030_splits --fold 2 --out clips
    """
    from preprocess.indexing import index_videos
    from preprocess.progress import ShowProgress

    with stoppable(), ShowProgress("videos").shown() as progress:
        report = index_videos(
            folder,
            dataset=dataset,
            splits=splits,
            fold=fold,
            out=out,
            workers=worker_config(workers, address),
            on_progress=lambda entry, total: progress.step(
                total, note="" if entry.outcome == "done" else f"{entry.key}: {entry.reason}"
            ),
        )
    _print_index(report, out or folder, fold)
    if report.missing:
        raise SystemExit(1)


def _print_index(report: "IndexReport", out: Path, fold: int) -> None:
    parts = " + ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items())
    where = printable(str(out))
    click.echo(f"{sum(report.outcomes.values())} videos = {parts} ({report.decoded} decoded by this run) in {where}")
    splits = " + ".join(f"{count} {split}" for split, count in sorted(report.splits.items(), reverse=True))
    click.echo(f"fold {fold}: {splits or 'nothing'}")
    if report.missing:
        lines = f" ({report.refused} of them refused lines of the splits)" if report.refused else ""
        click.echo(f"missing: {report.missing}{lines}, each with its reason in {where}/missing.csv")
    if report.unlisted:
        click.echo(f"unlisted: {report.unlisted} videos that no list names, in {where}/missing.csv")
