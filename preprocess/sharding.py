"""From clips to shards: plan, compute what is missing, write the index last."""

import json
import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from preprocess.clip_source import ClipSource, FolderSource, check_apart
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia, BadShard, EnvironmentProblem, WorkerDied
from preprocess.extract import extract_all
from preprocess.flow import FLOW_BOUND, FLOW_SCALE, FLOW_ZERO, resolve_backend
from preprocess.made_shards import JOURNAL_NAME, FolderCheck, Journal, ShardResult
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.paths import exclusive, make_folder, swept
from preprocess.plan import PLAN_NAME, Plan, PlannedShard, check_earlier, make_plan, read_plan
from preprocess.shards.index import INDEX_NAME, Index
from preprocess.shards.layout import ATTRIBUTE_BYTES, EncodedClip, ShardAttributes
from preprocess.shards.write import write_shard
from preprocess.status.flow_status import FinishedClip, FlowStatus
from preprocess.status.work import Work
from preprocess.target import FolderTarget, ObjectTarget, Target
from preprocess.trials import KILLED_REASON, Notes, Trials, run_shards
from preprocess.words import size
from preprocess.workers import Tick, worker_pool

_RECORDS = (PLAN_NAME, JOURNAL_NAME, INDEX_NAME)
"""Files beside the shards, with an address too; the index last."""
_REASON_LENGTH = 300  # of a failure kept in a shard's attributes

Part = TypeVar("Part")

logger = logging.getLogger(__name__)


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
    work: Work
    """Of this run, summed over workers."""
    elapsed_s: float


def make_shards(
    clips: Path | ClipSource,
    out: Path | Target,
    *,
    config: FlowConfig,
    workers: WorkerConfig,
    labels: Sequence[str] | None = None,
    replan: bool = False,
    retry_failed: bool = False,
    on_progress: Callable[[int], None] = lambda total: None,
) -> FlowReport:
    """Make every shard of the plan that is not there yet, and the index once all are.

    Args:
        clips: what `preprocess download` made, or a folder `split/class/video`.
        out: where the shards go.
        config: what to compute.
        workers: with how many processes.
        labels: label names in order; by default those of the clips, sorted.
        replan: drop the shards of an earlier, different plan.
        retry_failed: make those shards again that lack clips which failed.
        on_progress: called for each clip that is finished, with the number of clips this run tries.

    Raises:
        InvalidInput: no clips; or `out` holds them, or shards of another plan.
        EnvironmentProblem: no space, no backend, no Ray, another run holds `out`, or a clip cannot be read here.
    """
    started = time.monotonic()
    backend = resolve_backend(config.backend, here=workers.computes_here)
    source = FolderSource(folder=clips) if isinstance(clips, Path) else clips
    target = FolderTarget(folder=out) if isinstance(out, Path) else out
    check_apart(source, target)
    plan = make_plan(source.clips(), config=config, backend=backend, labels=labels)
    make_folder(target.folder)
    with exclusive(target.folder), swept(target.folder), target.records(_RECORDS) as records:
        _adopt_plan(target, plan, source=source, workers=workers, replan=replan)
        records.send()
        attributes = attributes_of(plan, config, backend)
        check = journal = None
        if isinstance(target, ObjectTarget):
            journal = Journal(target, fingerprint=plan.fingerprint, retry_failed=retry_failed)
        else:
            check = FolderCheck.of(target.folder, attributes, retry_failed=retry_failed)
        results = {shard.name: known for shard in plan.shards if journal and (known := journal.find(shard))}
        there = check.names() if check else frozenset()
        left = [shard for shard in plan.shards if shard.name not in results]
        missing = [shard for shard in left if shard.name not in there]
        unchecked = [shard for shard in left if shard.name in there]
        check_space(target, missing)
        status = FlowStatus(
            target.folder,
            plan=plan,
            finished={name: result.failed for name, result in results.items()},
            unchecked=[shard.name for shard in unchecked],
            on_progress=on_progress,
        )
        work = Work()
        deaths: dict[str, str] = {}
        computed = compute_shards(
            missing,
            unchecked=unchecked,
            check=check,
            source=source,
            target=target,
            attributes=attributes,
            config=config,
            backend=backend,
            workers=workers,
            on_clip=status.count,
            on_poll=status.publish,
        )
        with status.published():
            with closing(computed):  # also when this is stopped: no worker may write when the folder is given up
                for shard, result in computed:
                    if isinstance(result, WorkerDied):
                        deaths[shard.name] = str(result)
                        continue
                    if result.spoilt:
                        logger.warning("made again: %s", result.spoilt)
                    if journal:
                        journal.add(result)
                    records.tick()
                    results[shard.name] = result
                    status.count_shard(shard, size=result.info.bytes, failed=result.failed, kept=result.kept)
                    work += result.work
            if deaths:
                reasons = "; ".join(f"{name}: {reason}" for name, reason in deaths.items())
                raise BadShard(
                    f"{len(deaths)} of {len(plan.shards)} shards could not be made ({reasons}); run again to retry them"
                )
            infos = tuple(results[shard.name].info for shard in plan.shards)
            Index(config=plan.settings, labels=plan.labels, shards=infos).write(target.folder)
    return FlowReport(
        clips=sum(info.clips for info in infos),
        shards=len(infos),
        made=sum(not result.kept for result in results.values()),
        bytes=sum(info.bytes for info in infos),
        failed={key: reason for shard in plan.shards for key, reason in results[shard.name].failed.items()},
        work=work,
        elapsed_s=time.monotonic() - started,
    )


def compute_shards(
    missing: Sequence[PlannedShard],
    *,
    unchecked: Sequence[PlannedShard] = (),
    check: FolderCheck | None = None,
    source: ClipSource,
    target: Target,
    attributes: ShardAttributes,
    config: FlowConfig,
    backend: str,
    workers: WorkerConfig,
    on_clip: Callable[[FinishedClip], None],
    on_poll: Callable[[], None] = lambda: None,
) -> Generator[tuple[PlannedShard, ShardResult | WorkerDied], None, None]:
    """Make or check shards in worker processes; each is published in `target` when it is yielded.

    Args:
        missing: what to make.
        unchecked: what to make only where `check` finds that it is not sound.
        check: of shards that are there; also of one whose worker died when it was in its place.
        source: of the clips.
        target: where they go.
        attributes: of all of them.
        config: what to compute.
        backend: as resolved.
        workers: with how many processes.
        on_clip: called for each clip that is through.
        on_poll: called about every second.

    Raises:
        EnvironmentProblem: no space, no Ray, or the backend fails.
    """
    make = partial(
        make_shard,
        source=source.absolute(),
        target=target.absolute(),
        attributes=attributes,
        config=config,
        backend=backend,
        threads=threads_a_task(workers.workers, tasks=len(missing) or len(unchecked)),
    )
    # so that none waits for all of the others, and the time to the end can be told from the pace
    todo = evenly_mixed(missing, unchecked)
    reads = source.witnesses([clip for shard in todo[:1] for clip in shard.clips])
    yield from run_shards(
        make if check is None else partial(_keep_or_make, make=make, check=check),
        todo,
        workers=workers,
        on_tick=on_clip,
        on_poll=on_poll,
        writes=target.shared,
        reads=reads,
    )


def _keep_or_make(
    shard: PlannedShard, tick: Tick, *, make: Callable[..., ShardResult], check: FolderCheck, **of_the_run: Any
) -> ShardResult:
    """What is there of a shard, or else what `make` made of it."""
    spoilt = ""
    try:
        if (kept := check.find(shard)) is not None:
            return kept
    except BadShard as error:
        spoilt = str(error)
    return replace(make(shard, tick, **of_the_run), spoilt=spoilt)


def make_shard(
    shard: PlannedShard,
    tick: Tick = lambda told: None,
    *,
    source: ClipSource,
    target: Target,
    notes: Notes,
    attributes: ShardAttributes,
    config: FlowConfig,
    backend: str,
    threads: int = 1,
    helpers: int = 0,
) -> ShardResult:
    """Make and publish one shard; a clip that cannot be made is left out, and named in the shard's `failed`.

    So is a clip that killed two workers, see `preprocess.trials`.

    Raises:
        EnvironmentProblem: the disk is full, the backend fails, or clips or shard cannot be read or transferred.
    """
    trials = Trials(shard.name, notes=notes)
    suspects, killers = trials.suspects(), trials.killers()
    made: dict[str, EncodedClip] = {}
    failed = dict.fromkeys(killers, KILLED_REASON)
    work = Work()
    labelled = [pair for pair in zip(shard.clips, shard.labels, strict=True) if pair[0].key not in killers]
    # what may kill this process is tried before anything else is under way
    alone = [pair for pair in labelled if pair[0].key in suspects]
    others = [pair for pair in labelled if pair[0].key not in suspects]
    with source.at_hand([clip for clip, _ in labelled]) as folder, trials.under_way():
        extracted = (
            extract_all(trials.begun(pairs), folder, config=config, backend=backend, threads=threads, helpers=count)
            for pairs, count in ((alone, 0), (others, helpers))
        )
        for done in chain.from_iterable(extracted):
            trials.end(done.clip)
            key, outcome = done.clip.key, Outcome.DONE
            if isinstance(done.result, BadMedia):
                failed[key], outcome = str(done.result)[:_REASON_LENGTH], Outcome.BAD_MEDIA
            else:
                made[key] = done.result
            work += done.work
            tick(FinishedClip(shard=shard.name, key=key, outcome=outcome, work=done.work))
    rows = [made[clip.key] for clip in shard.clips if clip.key in made]
    failed = _fitting({clip.key: failed[clip.key] for clip in shard.clips if clip.key in failed})
    with target.making(shard.name) as path:
        info = write_shard(path, rows, replace(attributes, failed=failed))
    return ShardResult(info=info, failed=failed, work=work + Work(bytes=info.bytes))


def _fitting(failed: dict[str, str]) -> dict[str, str]:
    """Key to reason; where many fail, reasons are cut until a shard holds them."""
    length = _REASON_LENGTH
    while length and len(json.dumps(failed)) > ATTRIBUTE_BYTES:
        length //= 2
        failed = {key: reason[:length] for key, reason in failed.items()}
    return failed


def threads_a_task(workers: int, *, tasks: int) -> int:
    """Flow threads of a task, so that few shards use many cores too.

    Example:
        >>> threads_a_task(8, tasks=3), threads_a_task(8, tasks=100), threads_a_task(0, tasks=1)
        (2, 1, 1)
    """
    return max(workers // max(tasks, 1), 1)


def evenly_mixed(*parts: Sequence[Part]) -> list[Part]:
    """The items of all parts, each in its order, at the same pace through all of them.

    Example:
        >>> evenly_mixed("abcdef", "XY")
        ['a', 'X', 'b', 'c', 'd', 'Y', 'e', 'f']
    """
    places = ((number / len(part), item) for part in parts for number, item in enumerate(part))
    return [item for _, item in sorted(places, key=itemgetter(0))]


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


def _adopt_plan(target: Target, plan: Plan, *, source: ClipSource, workers: WorkerConfig, replan: bool) -> None:
    """Make `plan` the plan of the target, or refuse when another one's shards are there."""
    target.check_not_taken(MANIFEST_NAME, holds="clips")
    old = read_plan(target.folder, place=target.name)
    check_earlier(old, plan, place=target.name, replan=replan)
    if old is not None and old["fingerprint"] == plan.fingerprint:
        return
    former = [shard.name for shard in plan.shards] if old is None else old["shards"]
    # before it is adopted: a run of a lower quality or on fewer GPUs, as the messages advise, is to meet no other plan
    check_space(target, plan.shards, instead_of=former)
    if workers.address is not None:
        with worker_pool(workers, writes=target.shared, reads=source.witnesses(plan.shards[0].clips)):
            pass
    if old is not None:
        # the index first: no reader may meet one without its shards
        for name in (INDEX_NAME, JOURNAL_NAME, *former):
            target.remove(name)
    plan.write(target.folder)


def check_space(target: Target, todo: Sequence[PlannedShard], *, instead_of: Sequence[str] = ()) -> None:
    """That the shards to make will fit on the disk, as far as that can be known.

    Args:
        target: where they go.
        todo: what to make.
        instead_of: names of files that are going to be deleted first.

    Raises:
        EnvironmentProblem: they will not.
    """
    needed, free = sum(shard.planned_bytes for shard in todo), target.free_bytes(without=instead_of)
    if free is not None and needed > free:
        raise EnvironmentProblem(
            f"{target.name} has {size(free)} free; the {len(todo)} shards to make are planned at "
            f"{size(needed)}; free space, lower the JPEG quality, or choose another folder"
        )
