"""`preprocess download`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import FILE, FOLDER, worker_config, worker_options

if TYPE_CHECKING:
    from preprocess.download import DownloadReport


@click.command()
@click.argument("clip_list", metavar="LIST", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Folder of the clips; running again does only what is missing.")
@click.option("--url-template", metavar="URL", help="Videos from here instead of YouTube; {youtube_id} is replaced.")
@click.option(
    "--source-dir",
    type=FOLDER,
    help="Videos from this folder instead: ID.* whole, or KEY.* trimmed already.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    help="Only this split (train, val, test); may be repeated.",
)
@click.option("--classes", multiple=True, metavar="LABEL", help="Only this class; may be repeated.")
@click.option("--limit", type=int, help="At most so many clips, drawn with --seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="For --limit.")
@click.option("--workers", type=int, help="Worker processes; 0 is this process alone.  [default: one a core]")
@click.option(
    "--retry",
    multiple=True,
    type=click.Choice(["unavailable", "bad_media", "quarantined"]),
    help="Also try these again.",
)
@worker_options
def download(
    clip_list: Path,
    out: Path,
    url_template: str | None,
    source_dir: Path | None,
    splits: tuple[str, ...],
    classes: tuple[str, ...],
    limit: int | None,
    seed: int,
    workers: int | None,
    retry: tuple[str, ...],
    address: str | None,
) -> None:
    """Fetch, trim and check the clips of a Kinetics LIST.

    LIST is a CSV with the columns label,youtube_id,time_start,time_end,split. Of each video only the wanted seconds
    are asked for where the site allows it, trimmed to the frame, decoded once, and then published, without sound.
    What could not be had, and why, is in OUT/missing.csv.

    \b
    Examples:
        preprocess download kinetics_val.csv --out clips --classes yoga --limit 100
        preprocess download list.csv --out clips --url-template 'http://127.0.0.1:8000/{youtube_id}.mp4'
        preprocess download list.csv --out clips --source-dir /data/videos
    """
    from preprocess.annotations import read_kinetics, select
    from preprocess.config import DownloadConfig
    from preprocess.download import download as run
    from preprocess.progress import ShowProgress

    config = DownloadConfig(out=out, url_template=url_template, source_dir=source_dir, retry=frozenset(retry))
    listed = read_kinetics(clip_list)
    clips = select(listed.clips, splits=splits, classes=classes, limit=limit, seed=seed)
    with ShowProgress("clips").shown() as progress:
        report = run(
            clips,
            config=config,
            workers=worker_config(workers, address),
            refused=listed.refused,
            on_progress=lambda entry, total: progress.step(
                total, note="" if entry.outcome == "done" else f"{entry.key}: {entry.reason}"
            ),
        )
    _print_download(report, out)
    if report.missing:
        raise SystemExit(1)


def _print_download(report: "DownloadReport", out: Path) -> None:
    parts = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items()) or "none"
    click.echo(f"clips: {parts} ({report.fetched} by this run) in {out}")
    if report.missing:
        click.echo(f"missing: {report.missing}, each with its reason in {out / 'missing.csv'}")
