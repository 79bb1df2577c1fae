"""From clips to shards: plan, compute what is missing, write the index last."""

import logging
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from preprocess.clips import find_clips
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia, BadShard, EnvironmentProblem, InvalidInput, WorkerDied
from preprocess.extract import StageSeconds, extract_all
from preprocess.flow import FLOW_BOUND, FLOW_SCALE, FLOW_ZERO, resolve_backend
from preprocess.paths import exclusive, inside, make_folder, swept
from preprocess.plan import Plan, PlannedShard, difference, make_plan, read_plan
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo, shard_info
from preprocess.shards.layout import EncodedClip, ShardAttributes
from preprocess.shards.verify import verify_shard
from preprocess.shards.write import write_shard
from preprocess.trials import KILLED_REASON, Trials, run_shards
from preprocess.workers import Tick

_REASON_LENGTH = 300  # of a failure kept in a shard's attributes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a worker says of a shard it made."""

    info: ShardInfo
    failed: dict[str, str]
    """Key to reason, of the clips that are not in it."""
    seconds: StageSeconds


@dataclass(frozen=True, kw_only=True)
class FlowReport:
    """How a run ended."""

    clips: int
    """In the shards."""
    shards: int
    made: int
    """Shards made by this run; the others were there already."""
    bytes: int
    """Of all shards."""
    failed: dict[str, str]
    """Key to reason, of all clips that are in no shard."""
    seconds: StageSeconds
    """Of this run, summed over workers."""
    elapsed_s: float


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
    free_bytes: int
    failed: dict[str, str] = field(default_factory=dict)
    """Sampled clips that could not be made."""


def make_shards(
    clips_folder: Path,
    out: Path,
    *,
    config: FlowConfig,
    workers: WorkerConfig,
    labels: Sequence[str] | None = None,
    replan: bool = False,
    on_progress: Callable[[int], None] = lambda total: None,
) -> FlowReport:
    """Make every shard of the plan that is not there yet, and the index once all are.

    Args:
        clips_folder: what `preprocess download` made, or a tree `split/class/video`.
        out: folder of the shards.
        config: what to compute.
        workers: with how many processes.
        labels: label names in order; by default those of the clips, sorted.
        replan: drop the shards of an earlier, different plan.
        on_progress: called for each clip that is finished, with the number of clips this run tries.

    Raises:
        InvalidInput: no clips; or `out` holds shards of another plan.
        EnvironmentProblem: no space, no backend, no Ray, or another run holds `out`.
    """
    started = time.monotonic()
    backend = resolve_backend(config.backend)
    plan = make_plan(find_clips(clips_folder), config=config, backend=backend, labels=labels)
    make_folder(out)
    with exclusive(out), swept(out):
        _adopt_plan(out, plan, replan=replan)
        attributes = attributes_of(plan, config, backend)
        results: dict[str, ShardResult] = {}
        written = _indexed(out)
        for shard in plan.shards:
            if (earlier := _finished(shard, out, attributes, indexed=written.get(shard.name))) is not None:
                results[shard.name] = earlier
        todo = [shard for shard in plan.shards if shard.name not in results]
        check_space(out, todo)
        seconds = StageSeconds()
        deaths: dict[str, str] = {}
        computed = compute_shards(
            todo,
            clips_folder=clips_folder,
            out=out,
            attributes=attributes,
            config=config,
            backend=backend,
            workers=workers,
            on_progress=on_progress,
        )
        with closing(computed):  # also when this is stopped: no worker may write when the folder is given up
            for shard, result in computed:
                if isinstance(result, WorkerDied):
                    deaths[shard.name] = str(result)
                    continue
                results[shard.name] = result
                seconds.add(result.seconds)
        if deaths:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in deaths.items())
            raise BadShard(
                f"{len(deaths)} of {len(plan.shards)} shards could not be made ({reasons}); run again to retry them"
            )
        infos = tuple(results[shard.name].info for shard in plan.shards)
        Index(config=plan.settings, labels=plan.labels, shards=infos).write(out)
    return FlowReport(
        clips=sum(info.clips for info in infos),
        shards=len(infos),
        made=len(todo),
        bytes=sum(info.bytes for info in infos),
        failed={key: reason for result in results.values() for key, reason in result.failed.items()},
        seconds=seconds,
        elapsed_s=time.monotonic() - started,
    )


def compute_shards(
    todo: Sequence[PlannedShard],
    *,
    clips_folder: Path,
    out: Path,
    attributes: ShardAttributes,
    config: FlowConfig,
    backend: str,
    workers: WorkerConfig,
    on_progress: Callable[[int], None] = lambda total: None,
) -> Generator[tuple[PlannedShard, ShardResult | WorkerDied], None, None]:
    """Make shards in worker processes; each is published in `out` when it is yielded.

    Args:
        todo: what to make.
        clips_folder: that the paths of the clips count from.
        out: folder of the shards.
        attributes: of all of them.
        config: what to compute.
        backend: as resolved.
        workers: with how many processes.
        on_progress: called for each clip that is finished, with the number of clips of `todo`.

    Raises:
        EnvironmentProblem: no space, no Ray, or the backend fails.
    """
    make = partial(
        make_shard,
        clips_folder=clips_folder,
        out=out,
        attributes=attributes,
        config=config,
        backend=backend,
        threads=threads_a_task(workers.workers, tasks=len(todo)),
        helpers=workers.helpers,
    )
    total = sum(len(shard.clips) for shard in todo)
    yield from run_shards(make, todo, folder=out, workers=workers, on_tick=lambda: on_progress(total))


def make_shard(
    shard: PlannedShard,
    tick: Tick = lambda: None,
    *,
    clips_folder: Path,
    out: Path,
    attributes: ShardAttributes,
    config: FlowConfig,
    backend: str,
    threads: int = 1,
    helpers: int = 0,
) -> ShardResult:
    """Make and publish one shard; a clip that cannot be made is left out, and named in the shard's `failed`.

    So is a clip that killed two workers, see `preprocess.trials`.

    Raises:
        EnvironmentProblem: the disk is full or the backend fails.
    """
    trials = Trials(shard.name, folder=out)
    suspects, killers = trials.suspects(), trials.killers()
    made: dict[str, EncodedClip] = {}
    failed = dict.fromkeys(killers, KILLED_REASON)
    seconds = StageSeconds()
    labelled = [pair for pair in zip(shard.clips, shard.labels, strict=True) if pair[0].key not in killers]
    # what may kill this process is tried before anything else is under way
    alone = [pair for pair in labelled if pair[0].key in suspects]
    others = [pair for pair in labelled if pair[0].key not in suspects]
    for pairs, helpers_ in ((alone, 0), (others, helpers)):
        for done in extract_all(
            trials.begun(pairs), clips_folder, config=config, backend=backend, threads=threads, helpers=helpers_
        ):
            trials.end(done.clip)
            if isinstance(done.result, BadMedia):
                failed[done.clip.key] = str(done.result)[:_REASON_LENGTH]
            else:
                made[done.clip.key] = done.result
            seconds.add(done.seconds)
            tick()
    rows = [made[clip.key] for clip in shard.clips if clip.key in made]
    failed = {clip.key: failed[clip.key] for clip in shard.clips if clip.key in failed}
    info = write_shard(out / shard.name, rows, replace(attributes, failed=failed))
    return ShardResult(info=info, failed=failed, seconds=seconds)


def threads_a_task(workers: int, *, tasks: int) -> int:
    """Flow threads of a task, so that few shards use many cores too.

    Example:
        >>> threads_a_task(8, tasks=3), threads_a_task(8, tasks=100), threads_a_task(0, tasks=1)
        (2, 1, 1)
    """
    return max(workers // max(tasks, 1), 1)


def estimate(
    clips_folder: Path,
    out: Path,
    *,
    config: FlowConfig,
    workers: WorkerConfig,
    sample: int = 4,
    pairs_a_clip: int = 10,
) -> Estimate:
    """Measure some clips in this process, write nothing, and say what the whole run will take.

    Args:
        clips_folder: as for `make_shards`.
        out: where the shards would go; asked for its free space only.
        config: what would be computed.
        workers: how many would compute it; they are taken to scale evenly.
        sample: how many clips to measure, spread evenly over the keys.
        pairs_a_clip: flow fields to compute of each.

    Raises:
        InvalidInput: no clips.
        BadMedia: none of the sampled clips can be decoded.
    """
    backend = resolve_backend(config.backend)
    clips = find_clips(clips_folder)
    plan = make_plan(clips, config=config, backend=backend)
    spent = StageSeconds()
    failed: dict[str, str] = {}
    chosen = [(clip, -1) for clip in clips[:: max(len(clips) // sample, 1)][:sample]]
    for done in extract_all(chosen, clips_folder, config=config, backend=backend, max_frames=pairs_a_clip + 1):
        if isinstance(done.result, BadMedia):
            failed[done.clip.key] = str(done.result)
        spent.add(done.seconds)
    if not spent.pairs:
        raise BadMedia(
            f"none of the {len(failed)} sampled clips can be decoded; the first: {next(iter(failed.values()))}"
        )
    pairs_per_s = spent.pairs / (spent.decode + spent.flow + spent.encode)
    pairs = sum(max(round(clip.duration_s * config.fps) - 1, 0) for clip in clips)
    return Estimate(
        clips=len(clips),
        shards=len(plan.shards),
        measured_pairs=spent.pairs,
        pairs_per_s=pairs_per_s,
        pairs=pairs,
        hours=pairs / pairs_per_s / max(workers.workers, 1) / 3600,
        bytes=round(pairs * spent.bytes / spent.pairs),
        free_bytes=_free_bytes(out),
        failed=failed,
    )


def attributes_of(plan: Plan, config: FlowConfig, backend: str) -> ShardAttributes:
    """What all shards of a plan say of themselves; `failed` apart, which each has of its own."""
    return ShardAttributes(
        fps=config.fps,
        short_side=config.short_side,
        rgb_quality=config.rgb_quality,
        flow_quality=config.flow_quality,
        flow_scale=FLOW_SCALE,
        flow_zero=FLOW_ZERO,
        flow_bound=FLOW_BOUND,
        tvl1={**asdict(config.tvl1), "backend": backend},
        labels=plan.labels,
    )


def _adopt_plan(out: Path, plan: Plan, *, replan: bool) -> None:
    """Make `plan` the plan of the folder, or refuse when another one's shards are there."""
    old = read_plan(out)
    if old is not None and old["fingerprint"] == plan.fingerprint:
        return
    if old is not None:
        if not replan:
            raise InvalidInput(
                f"{out} was planned with something else ({difference(old, plan)}); "
                "choose another folder, or --replan to drop its shards and start over"
            )
        (out / INDEX_NAME).unlink(missing_ok=True)  # first: no reader may meet an index without its shards
        for name in old["shards"]:
            inside(out, name).unlink(missing_ok=True)
    plan.write(out)


def _indexed(out: Path) -> dict[str, ShardInfo]:
    """What an earlier run of the same plan wrote of its shards; nothing if it did not come to its end."""
    if not (out / INDEX_NAME).is_file():
        return {}
    try:
        return {info.name: info for info in Index.read(out).shards}
    except BadShard as error:
        logger.warning("written again: %s", error)
        return {}


def _finished(
    shard: PlannedShard, out: Path, attributes: ShardAttributes, *, indexed: ShardInfo | None
) -> ShardResult | None:
    """The result of an earlier run, when its shard is there and right, and what its index says if it wrote one."""
    path = out / shard.name
    if not path.exists():
        return None
    try:
        found = verify_shard(path)
    except BadShard as error:
        logger.warning("made again: %s", error)
        return None
    keys = [key.decode() for key in found.clips.key]
    failed = found.attributes.failed
    if replace(found.attributes, failed={}) != attributes or {*keys, *failed} != {clip.key for clip in shard.clips}:
        logger.warning("made again: %s does not hold what is planned for it", path)
        return None
    info = shard_info(path, clips=len(keys))
    if indexed is not None and info != indexed:
        logger.warning("made again: %s is not what %s says", path, INDEX_NAME)
        return None
    return ShardResult(info=info, failed=failed, seconds=StageSeconds())


def check_space(out: Path, todo: Sequence[PlannedShard]) -> None:
    """That the shards to make will fit on the disk.

    Raises:
        EnvironmentProblem: they will not.
    """
    needed, free = sum(shard.planned_bytes for shard in todo), _free_bytes(out)
    if needed > free:
        raise EnvironmentProblem(
            f"{out} has {free / 1e9:.1f} GB free; the {len(todo)} shards to make are planned at {needed / 1e9:.1f} GB; "
            "free space, lower the JPEG quality, or choose another folder"
        )


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
