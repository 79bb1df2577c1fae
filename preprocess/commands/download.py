"""`preprocess download`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import (
    FILE,
    FOLDER,
    PLACE,
    address_option,
    metrics_options,
    staging_option,
    worker_config,
)
from preprocess.commands.stopping import stoppable

if TYPE_CHECKING:
    from preprocess.download import DownloadReport
    from preprocess.limiter import Pause
    from preprocess.target import Target


@click.command()
@click.argument("lists", metavar="LIST...", type=FILE, nargs=-1, required=True)
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="Folder of the clips, or an address such as s3://bucket/clips; running again does only what is missing.",
)
@staging_option
@click.option(
    "--dataset",
    metavar="NAME",
    help="Label table to match the labels to: kinetics400, kinetics600, kinetics700, or none to leave them as they "
    "are.  [default: the one of Kinetics that has them all]",
)
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Only this split (train, val, test).  [repeat]")
@click.option("--classes", multiple=True, metavar="LABEL", help="Only this class.  [repeat]")
@click.option("--limit", type=int, help="At most so many clips, drawn with --seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="For --limit.")
@click.option("--strict", is_flag=True, help="Stop before the first download when a row of a list is refused.")
@click.option(
    "--source",
    metavar="NAME,...",
    help="Where from: directory, mirror, url, youtube; each is asked for what those before it lack.  "
    "[default: as the next options imply, else youtube]",
)
@click.option("--source-dir", type=FOLDER, help="Source directory: KEY.* trimmed clips or ID.* whole videos.")
@click.option("--mirror", metavar="NAME|URL|PATH", help="Source mirror: kinetics400, ..., or a list of archives.")
@click.option("--url-template", metavar="URL", help="Source url: an address with {youtube_id} in it.")
@click.option(
    "--proxy", "proxies", multiple=True, metavar="URL", help="Ask through this proxy; several take turns.  [repeat]"
)
@click.option("--cookies", multiple=True, type=FILE, help="Cookie file (Netscape format); read, not written.  [repeat]")
@click.option("--cookies-from-browser", metavar="BROWSER", help="Take the cookies of a browser here, such as firefox.")
@click.option(
    "--rate",
    type=float,
    metavar="N",
    help="Videos an hour, for each proxy or cookie file.  [default: 300 for YouTube, else no limit]",
)
@click.option("--deadline", type=float, default=600, show_default=True, help="Seconds for one clip.")
@click.option(
    "--retry",
    multiple=True,
    type=click.Choice(["unavailable", "bad_media", "quarantined"]),
    help="Also try these of earlier runs again; what failed for now always is.  [repeat]",
)
@click.option("--workers", type=int, help="Worker processes; 0 is this process alone.  [default: one a core]")
@address_option
@metrics_options
def download(
    lists: tuple[Path, ...],
    out: Path | str,
    staging: Path | None,
    dataset: str | None,
    splits: tuple[str, ...],
    classes: tuple[str, ...],
    limit: int | None,
    seed: int,
    strict: bool,
    source: str | None,
    source_dir: Path | None,
    mirror: str | None,
    url_template: str | None,
    proxies: tuple[str, ...],
    cookies: tuple[Path, ...],
    cookies_from_browser: str | None,
    rate: float | None,
    deadline: float,
    retry: tuple[str, ...],
    workers: int | None,
    address: str | None,
    metrics_file: Path | None,
    metrics_port: int | None,
) -> None:
    """Fetch, trim and check the clips of one LIST or several.

    A LIST is a CSV with the columns label,youtube_id,time_start,time_end,split. Of each video only the wanted seconds
    are asked for where the site allows it, trimmed to the frame, decoded once, and then published, without sound.
    Every row ends in one outcome; what could not be had, and why, is in OUT/missing.csv. `preprocess status OUT` shows
    a run while it goes, `preprocess card OUT` what came of it.

    \b
    Examples:
        preprocess download kinetics_val.csv --out clips --classes yoga --limit 100
        preprocess download train.csv val.csv --out clips --source mirror,youtube --mirror kinetics400
        preprocess download list.csv --out clips --source-dir /data/videos
        preprocess download list.csv --out clips --url-template 'http://127.0.0.1:8000/{youtube_id}.mp4'
        preprocess download list.csv --out s3://bucket/clips --address 10.0.0.1:6379
    """
    from preprocess.annotations import AUTO, read_lists, require_clean, select
    from preprocess.config import DownloadConfig, Identity
    from preprocess.download import download as run
    from preprocess.metrics.batch import exported
    from preprocess.progress import ShowProgress
    from preprocess.target import target_of
    from preprocess.wanted import wanted_of

    target = target_of(out, staging=staging)
    config = DownloadConfig(
        out=target.folder,
        store=out if isinstance(out, str) else None,
        sources=tuple(name.strip() for name in source.split(",")) if source is not None else (),
        source_dir=source_dir,
        mirror=mirror,
        url_template=url_template,
        identities=Identity.pair_up(proxies, cookies),
        cookies_from_browser=cookies_from_browser,
        rate=rate,
        deadline_s=deadline,
        retry=frozenset(retry),
    )
    listed = read_lists(lists, dataset=None if dataset == "none" else AUTO if dataset is None else dataset)
    if strict:
        require_clean(listed.refused)
    clips = select(listed.clips, splits=splits, classes=classes, limit=limit, seed=seed)
    metrics = exported(target.folder, file=metrics_file, port=metrics_port)
    with stoppable(), metrics, ShowProgress("clips").shown() as progress:
        report = run(
            wanted_of(listed, clips),
            config=config,
            workers=worker_config(workers, address),
            on_clip=lambda entry, total: progress.step(
                total, note="" if entry.outcome == "done" else f"{entry.key}: {entry.reason}"
            ),
            on_pause=lambda pause: progress.say(_words(pause)),
        )
    _print_download(report, target)
    if report.missing:
        raise SystemExit(1)


def _words(pause: "Pause") -> str:
    until = time.strftime("%H:%M:%S", time.localtime(pause.until))
    return f"{pause.identity}: pause until {until} ({pause.reason})"


def _print_download(report: "DownloadReport", target: "Target") -> None:
    parts = " + ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items()) or "0"
    click.echo(f"{report.rows} rows = {parts} ({report.fetched} clips done by this run) in {target.name}")
    if report.missing:
        click.echo(f"missing: {report.missing}, each with its reason in {target.folder / 'missing.csv'}")
