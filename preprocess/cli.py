"""The `preprocess` command: parse, build a configuration, call one function, print.

Exit status: 0 done, 1 some clips failed, 2 wrong usage, 3 the machine cannot do it.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preprocess.console import CommandGroup, printable, show_log

if TYPE_CHECKING:
    from preprocess.config import WorkerConfig
    from preprocess.download import DownloadReport
    from preprocess.sharding import Estimate, FlowReport

# Commands import what they need when they run: --help must not wait for OpenCV, Ray or CUDA.

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("kineflow"), prog_name="preprocess")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, not only what goes wrong.")
def main(verbose: bool) -> None:
    """Turn Kinetics into RGB frames and TV-L1 optical flow, once, in sharded HDF5.

    \b
    The three steps of a data set:
        preprocess download kinetics_val.csv --out clips
        preprocess flow clips --out shards --cpus 8
        i3d_train run --shards shards --stream flow --out run

    Exit status: 0 done, 1 some clips failed (all others are done), 2 wrong usage, 3 the machine cannot do it.
    """
    show_log(verbose)


def _worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--address", metavar="HOST:PORT", help="Ray cluster to run on ('auto' finds one on this machine)."
    )(command)


@main.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--videos-per-class",
    "train",
    type=int,
    default=4,
    show_default=True,
    help="Training videos of each class.",
)
@click.option("--val-per-class", "val", type=int, default=2, show_default=True, help="Validation videos of each class.")
@click.option("--width", type=int, default=128, show_default=True, help="Pixels.")
@click.option("--height", type=int, default=96, show_default=True, help="Pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same bytes.")
def sample(folder: Path, train: int, val: int, width: int, height: int, seed: int) -> None:
    """Make a small synthetic Kinetics with known motion in FOLDER, for trying things out.

    Writes FOLDER/list.csv, FOLDER/videos/ID.mp4 and, beside each video, its exact flow as ID.flow.npz.

    \b
    Example:
        preprocess sample sample
        preprocess download sample/list.csv --source-dir sample/videos --out clips
    """
    from preprocess.sample import SampleConfig, make_sample

    config = SampleConfig(videos_per_class=train, val_per_class=val, width=width, height=height, seed=seed)
    summary = make_sample(folder, config=config)
    videos = f"{summary.train_videos} training and {summary.val_videos} validation videos"
    click.echo(f"{videos} of {summary.classes} classes, {summary.total_bytes / 1e6:.1f} MB")
    click.echo(f"list:   {summary.list_path}")
    click.echo(f"videos: {summary.videos_folder}, with the true flow of each beside it")


@main.command()
@click.argument("clip_list", metavar="LIST", type=_FILE)
@click.option(
    "--out", type=_FOLDER, required=True, help="Folder of the clips; running again does only what is missing."
)
@click.option("--url-template", metavar="URL", help="Videos from here instead of YouTube; {youtube_id} is replaced.")
@click.option(
    "--source-dir",
    type=_FOLDER,
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
@_worker_options
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
            workers=_workers(workers, address),
            refused=listed.refused,
            on_progress=lambda entry, total: progress.step(
                total, note="" if entry.outcome == "done" else f"{entry.key}: {entry.reason}"
            ),
        )
    _print_download(report, out)
    if report.missing:
        raise SystemExit(1)


@main.command()
@click.argument("clips", type=_FOLDER)
@click.option(
    "--out",
    type=_FOLDER,
    required=True,
    help="Folder of the shards; running again makes only what is missing.",
)
@click.option("--gpus", type=int, help="GPUs to compute flow on; fewer than that is an error at once.")
@click.option("--cpus", type=int, help="CPU worker processes; 0 is this process alone.  [default: one a core]")
@click.option("--backend", default="auto", show_default=True, help="Flow implementation; auto takes the best one here.")
@click.option("--short-side", type=int, default=256, show_default=True, help="Pixels of the shorter side, aspect kept.")
@click.option("--fps", default="25", show_default=True, help="Frames a second, a number or a fraction like 30000/1001.")
@click.option("--rgb-quality", type=int, default=95, show_default=True, help="JPEG quality of the frames.")
@click.option("--flow-quality", type=int, default=95, show_default=True, help="JPEG quality of the flow.")
@click.option(
    "--clips-per-shard",
    type=int,
    default=64,
    show_default=True,
    help="Or fewer, to stay below 512 MiB a shard.",
)
@click.option(
    "--labels",
    "labels_file",
    type=_FILE,
    help="Label names, one a line, in the wanted order.  [default: sorted]",
)
@click.option("--replan", is_flag=True, help="Drop the shards in OUT when they were planned otherwise.")
@click.option("--dry-run", is_flag=True, help="Measure a few clips and say what the run will take; write nothing.")
@_worker_options
def flow(
    clips: Path,
    out: Path,
    gpus: int | None,
    cpus: int | None,
    backend: str,
    short_side: int,
    fps: str,
    rgb_quality: int,
    flow_quality: int,
    clips_per_shard: int,
    labels_file: Path | None,
    replan: bool,
    dry_run: bool,
    address: str | None,
) -> None:
    """Turn CLIPS into shards of RGB frames and TV-L1 flow.

    CLIPS is what `preprocess download` made, or any tree SPLIT/CLASS/VIDEO. Each clip is decoded once, resampled by
    time, resized, and its flow computed on the resized gray frames. Equal clips and options give equal bytes.

    \b
    Examples:
        preprocess flow clips --out shards --dry-run
        preprocess flow clips --out shards --cpus 8
        preprocess flow clips --out shards --gpus 1
    """
    from preprocess.config import FlowConfig, WorkerConfig
    from preprocess.flow import resolve_backend
    from preprocess.gpus import require_gpus
    from preprocess.progress import ShowProgress
    from preprocess.sharding import estimate, make_shards

    if gpus is not None:
        if cpus is not None:
            raise click.UsageError("give --gpus or --cpus, not both")
        if address is None:
            require_gpus(gpus)
    config = FlowConfig(
        fps=_fraction(fps),
        short_side=short_side,
        rgb_quality=rgb_quality,
        flow_quality=flow_quality,
        clips_per_shard=clips_per_shard,
        backend=resolve_backend(backend, on_gpu=gpus is not None),
    )
    workers = _workers(cpus, address) if gpus is None else WorkerConfig.on_gpus(gpus, address=address)
    if dry_run:
        _print_estimate(estimate(clips, out, config=config, workers=workers), workers)
        return
    with ShowProgress("clips").shown() as progress:
        report = make_shards(
            clips,
            out,
            config=config,
            workers=workers,
            labels=_read_labels(labels_file) if labels_file else None,
            replan=replan,
            on_progress=progress.step,
        )
    _print_flow(report, out)
    if report.failed:
        raise SystemExit(1)


def _workers(count: int | None, address: str | None) -> "WorkerConfig":
    from preprocess.config import WorkerConfig

    return WorkerConfig(address=address) if count is None else WorkerConfig(workers=count, address=address)


def _fraction(text: str) -> Any:
    from fractions import Fraction

    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(
            f"{text!r} is not a number or fraction such as 25 or 30000/1001", param_hint="--fps"
        ) from error


def _read_labels(path: Path) -> tuple[str, ...]:
    from preprocess.errors import InvalidInput

    if not path.is_file():
        raise InvalidInput(f"label file {path} does not exist")
    labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(set(labels)) != len(labels) or not labels:
        raise InvalidInput(f"label file {path} must hold one label a line, each once; it has {len(labels)} lines")
    return labels


def _print_download(report: "DownloadReport", out: Path) -> None:
    parts = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items()) or "none"
    click.echo(f"clips: {parts} ({report.fetched} by this run) in {out}")
    if report.missing:
        click.echo(f"missing: {report.missing}, each with its reason in {out / 'missing.csv'}")


def _print_flow(report: "FlowReport", out: Path) -> None:
    size = f"{report.clips} clips, {report.bytes / 1e6:.1f} MB"
    click.echo(f"shards: {report.shards} ({report.made} by this run), {size} in {out}")
    spent = report.seconds
    if spent.pairs:
        rates = f"{spent.pairs / report.elapsed_s:.1f} pairs/s, all workers together"
        shares = ", ".join(f"{name} {getattr(spent, name):.0f} s" for name in ("decode", "flow", "encode"))
        click.echo(f"flow: {spent.pairs} pairs in {report.elapsed_s:.0f} s = {rates} (work: {shares})")
    for key, reason in report.failed.items():
        click.echo(f"failed: {key}: {printable(reason)}")


def _print_estimate(estimate: "Estimate", workers: "WorkerConfig") -> None:
    rate = f"{estimate.pairs_per_s:.2f} pairs/s a worker, decoding and encoding included"
    click.echo(f"measured: {estimate.measured_pairs} pairs, {rate}")
    click.echo(f"expected: {estimate.clips} clips, {estimate.pairs} pairs, {estimate.shards} shards")
    click.echo(
        f"          {estimate.bytes / 1e9:.2f} GB, {estimate.hours:.2f} hours with {max(workers.workers, 1)} workers"
    )
    click.echo(f"free:     {estimate.free_bytes / 1e9:.1f} GB")
    for key, reason in estimate.failed.items():
        click.echo(f"failed:   {key}: {printable(reason)}")
