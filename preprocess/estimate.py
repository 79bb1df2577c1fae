"""How long a flow run will take, and how much it will write, before it is begun."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from preprocess.clip_source import ClipSource, FolderSource, check_apart
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia
from preprocess.extract import MAX_SECONDS, TOO_LONG, extract_all
from preprocess.flow import BACKENDS, resolve_backend
from preprocess.outcomes import MANIFEST_NAME
from preprocess.plan import PLAN_NAME, check_earlier, make_plan, read_plan
from preprocess.status.work import Work
from preprocess.target import FolderTarget, ObjectTarget, Target


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a dry run measured and what it expects of the whole."""

    clips: int
    shards: int
    measured_pairs: int
    pairs_per_s: float
    """Of one worker, decoding and encoding included."""
    pairs: int
    """Flow fields of the whole run."""
    hours: float
    """With all workers."""
    bytes: int
    free_bytes: int | None
    """Where the shards would go; None where nobody knows."""
    failed: dict[str, str] = field(default_factory=dict)
    """Sampled clips that could not be made, and all that declare to be too long."""


def estimate(
    clips: Path | ClipSource,
    out: Path | Target,
    *,
    config: FlowConfig,
    workers: WorkerConfig,
    labels: Sequence[str] | None = None,
    replan: bool = False,
    sample: int = 4,
    pairs_a_clip: int = 10,
) -> Estimate:
    """Measure some clips in this process, write nothing, and say what the whole run will take.

    On a GPU whole clips, four for each helper, so that it has as much to do as in a run.

    Args:
        clips: as for `make_shards`.
        out: where the shards would go; asked for its free space and plan only.
        config: what would be computed.
        workers: how many would compute it; they are taken to scale evenly.
        labels: as for `make_shards`.
        replan: likewise.
        sample: how many clips to measure on a CPU, spread evenly over the keys.
        pairs_a_clip: flow fields to compute of each there.

    Raises:
        InvalidInput: `make_shards` would refuse these clips, labels, or what is in `out`.
        BadMedia: none of the sampled clips can be decoded.
    """
    backend = resolve_backend(config.backend)
    source = FolderSource(folder=clips) if isinstance(clips, Path) else clips
    target = FolderTarget(folder=out) if isinstance(out, Path) else out
    check_apart(source, target)
    found = source.clips()
    plan = make_plan(found, config=config, backend=backend, labels=labels)
    target.check_not_taken(MANIFEST_NAME, holds="clips")
    check_earlier(_earlier_plan(target), plan, place=target.name, replan=replan)
    spent, jpeg_bytes = Work(), 0
    makeable = [clip for clip in found if clip.duration_s <= MAX_SECONDS]
    failed = {clip.key: f"{clip.path}: {TOO_LONG}" for clip in found if clip.duration_s > MAX_SECONDS}
    on_gpu = BACKENDS[backend].on_gpu
    if on_gpu:
        sample *= max(workers.helpers, 1)
    chosen = makeable[:: max(len(makeable) // sample, 1)][:sample]
    with source.at_hand(chosen) as folder:
        extract = partial(extract_all, [(clip, -1) for clip in chosen], folder, config=config, backend=backend)
        if on_gpu:
            deque(extract(max_frames=2), maxlen=0)  # kernels are compiled when a size is first met
        started = time.perf_counter()
        for done in extract(helpers=workers.helpers) if on_gpu else extract(max_frames=pairs_a_clip + 1):
            if isinstance(done.result, BadMedia):
                failed[done.clip.key] = str(done.result)
            else:
                jpeg_bytes += done.result.nbytes
            spent += done.work
        elapsed_s = time.perf_counter() - started
    if not spent.flow_pairs:
        raise BadMedia(
            f"none of the {len(failed)} sampled clips can be decoded; the first: {next(iter(failed.values()))}"
        )
    pairs_per_s = spent.flow_pairs / elapsed_s
    pairs = sum(max(round(clip.duration_s * config.fps) - 1, 0) for clip in makeable)
    return Estimate(
        clips=len(found),
        shards=len(plan.shards),
        measured_pairs=spent.flow_pairs,
        pairs_per_s=pairs_per_s,
        pairs=pairs,
        hours=pairs / pairs_per_s / max(workers.workers, 1) / 3600,
        bytes=round(pairs * jpeg_bytes / spent.flow_pairs),
        free_bytes=target.free_bytes(),
        failed=failed,
    )


def _earlier_plan(target: Target) -> dict[str, Any] | None:
    """See `read_plan`; what an address has counts, as in a run."""
    if isinstance(target, ObjectTarget):
        with TemporaryDirectory() as folder:
            if target.store.get(PLAN_NAME, Path(folder, PLAN_NAME)):
                return read_plan(Path(folder), place=target.name)
    return read_plan(target.folder, place=target.name)
