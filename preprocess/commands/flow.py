"""`preprocess flow`."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preprocess.commands.options import PLACE, address_option, metrics_options, staging_option, worker_config
from preprocess.commands.stopping import stoppable
from preprocess.console import fraction, printable
from preprocess.labels import DATASETS

if TYPE_CHECKING:
    from preprocess.config import WorkerConfig
    from preprocess.estimate import Estimate
    from preprocess.sharding import FlowReport
    from preprocess.target import Target


@click.command()
@click.argument("clips", type=PLACE)
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="Folder of the shards, or an address such as s3://bucket/shards; running again makes only what is missing.",
)
@staging_option
@click.option("--gpus", type=int, help="GPUs to compute flow on; fewer than that is an error at once.")
@click.option("--cpus", type=int, help="CPU worker processes; 0 is this process alone.  [default: one a core]")
@click.option("--backend", default="auto", show_default=True, help="Flow implementation; auto takes the best one here.")
@click.option("--short-side", type=int, default=256, show_default=True, help="Pixels of the shorter side, aspect kept.")
@click.option(
    "--fps",
    type=fraction,
    default="25",
    show_default=True,
    help="Frames a second, a number or a fraction like 30000/1001.",
)
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
    "labels_name",
    metavar="DATASET|FILE",
    help=f"Label names in the wanted order: of {', '.join(DATASETS)}, or of a file, one a line.  "
    "[default: those of the clips, sorted]",
)
@click.option("--replan", is_flag=True, help="Drop the shards in OUT when they were planned otherwise.")
@click.option("--retry-failed", is_flag=True, help="Make those shards in OUT again that lack clips which failed.")
@click.option("--dry-run", is_flag=True, help="Measure a few clips and say what the run will take; write nothing.")
@address_option
@metrics_options
def flow(
    clips: Path | str,
    out: Path | str,
    staging: Path | None,
    gpus: int | None,
    cpus: int | None,
    backend: str,
    short_side: int,
    fps: Fraction,
    rgb_quality: int,
    flow_quality: int,
    clips_per_shard: int,
    labels_name: str | None,
    replan: bool,
    retry_failed: bool,
    dry_run: bool,
    address: str | None,
    metrics_file: Path | None,
    metrics_port: int | None,
) -> None:
    """Turn CLIPS into shards of RGB frames and TV-L1 flow.

    CLIPS is what `preprocess download` made, or any tree SPLIT/CLASS/VIDEO. Each clip is decoded once, resampled by
    time, resized, and its flow computed on the resized gray frames. Equal clips and options give equal bytes.

    \b
    Examples:
        preprocess flow clips --out shards --dry-run
        preprocess flow clips --out shards --cpus 8
        preprocess flow clips --out shards --gpus 1
        preprocess flow clips --out shards --labels kinetics400
        preprocess flow clips --out shards --metrics-file /var/lib/node_exporter/flow.prom
        preprocess flow s3://bucket/clips --out s3://bucket/shards --gpus 8 --address 10.0.0.1:6379
    """
    from preprocess.clip_source import source_of
    from preprocess.config import FlowConfig
    from preprocess.estimate import estimate
    from preprocess.flow import resolve_backend
    from preprocess.metrics.batch import exported
    from preprocess.progress import ShowProgress
    from preprocess.sharding import make_shards
    from preprocess.target import target_of

    workers = worker_config(cpus, address, gpus=gpus)
    config = FlowConfig(
        fps=fps,
        short_side=short_side,
        rgb_quality=rgb_quality,
        flow_quality=flow_quality,
        clips_per_shard=clips_per_shard,
        backend=resolve_backend(backend, on_gpu=gpus is not None, here=dry_run or workers.computes_here),
    )
    source, target = source_of(clips), target_of(out, staging=staging)
    labels = None if labels_name is None else _read_labels(labels_name)
    if dry_run:
        expected = estimate(source, target, config=config, workers=workers, labels=labels, replan=replan)
        _print_estimate(expected, workers)
        return
    metrics = exported(target.folder, file=metrics_file, port=metrics_port)
    with stoppable(), metrics, ShowProgress("clips").shown() as progress:
        report = make_shards(
            source,
            target,
            config=config,
            workers=workers,
            labels=labels,
            replan=replan,
            retry_failed=retry_failed,
            on_progress=progress.step,
        )
    _print_flow(report, target)
    if report.failed:
        raise SystemExit(1)


def _read_labels(name: str) -> tuple[str, ...]:
    from preprocess.errors import InvalidInput
    from preprocess.labels import label_table, read_label_file

    if name in DATASETS:
        return label_table(name)
    try:
        Path(name).stat()
    except FileNotFoundError as error:
        choices = ", ".join(DATASETS)
        raise InvalidInput(f"label file {name} does not exist; give a file or one of {choices}") from error
    except OSError:  # as reading it tells
        pass
    return read_label_file(Path(name))


def _print_flow(report: "FlowReport", target: "Target") -> None:
    from preprocess.words import size

    holding = f"{report.clips} clips, {size(report.bytes)}"
    click.echo(f"shards: {report.shards} ({report.made} by this run), {holding} in {target.name}")
    if pairs := report.work.flow_pairs:
        rates = f"{pairs / report.elapsed_s:.1f} pairs/s, all workers together"
        shares = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in report.work.seconds.items())
        click.echo(f"flow: {pairs} pairs in {report.elapsed_s:.0f} s = {rates} (work: {shares})")
    for key, reason in report.failed.items():
        click.echo(printable(f"failed: {key}: {reason}"))
    if report.failed:
        click.echo(f"{len(report.failed)} clips failed; --retry-failed tries them again, and makes their shards anew")


def _print_estimate(estimate: "Estimate", workers: "WorkerConfig") -> None:
    from preprocess.words import size, span

    rate = f"{estimate.pairs_per_s:.2f} pairs/s a worker, decoding and encoding included"
    click.echo(f"measured: {estimate.measured_pairs} pairs, {rate}")
    click.echo(f"expected: {estimate.clips} clips, {estimate.pairs} pairs, {estimate.shards} shards")
    took = span(3600 * estimate.hours)
    click.echo(f"          {size(estimate.bytes)}, {took} with {max(workers.workers, 1)} workers")
    if estimate.free_bytes is not None:
        click.echo(f"free:     {size(estimate.free_bytes)}")
    for key, reason in estimate.failed.items():
        click.echo(printable(f"failed:   {key}: {reason}"))
