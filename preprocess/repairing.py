"""Make the damaged and missing shards of a folder again, byte for byte as they were, and leave the others alone.

A shard is a pure function of its clips and the configuration, so the index is enough to know what to make, and its
SHA-256 to know that it was made. Nothing else is ever put in place of a shard.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from preprocess.clip_source import FolderSource
from preprocess.clips import find_clips
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia, InvalidInput, UnreadableFile, WorkerDied
from preprocess.extract import check_bytes
from preprocess.flow import resolve_backend
from preprocess.made_shards import ShardResult
from preprocess.paths import exclusive, rename_into_place, swept, temporary_beside
from preprocess.plan import PLAN_NAME, Plan, PlannedShard, difference, make_plan, read_plan
from preprocess.sharding import attributes_of, check_space, compute_shards
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo
from preprocess.shards.verify import Finding
from preprocess.target import FolderTarget
from preprocess.typed_json import decode
from preprocess.verification import verify_folder


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What a repair did."""

    shards: int
    """That the index names."""
    repaired: tuple[str, ...]
    """Shards made again, each with the SHA-256 of the index."""
    failed: dict[str, str]
    """Name to reason, of what is still broken."""

    @property
    def sound(self) -> int:
        """Shards that were well before."""
        return self.shards - len(self.repaired) - len(self.failed.keys() - {INDEX_NAME})


def repair_folder(
    folder: Path,
    clips_folder: Path,
    *,
    workers: WorkerConfig,
    on_progress: Callable[[int], None] = lambda total: None,
    on_finding: Callable[[Finding], None] = lambda found: None,
) -> RepairReport:
    """Check a folder of shards and make again what is broken.

    Args:
        folder: of the shards, with their index.
        clips_folder: of the clips that they were made from.
        workers: with how many processes to make them.
        on_progress: called for each clip that is finished, with the number of clips to do.
        on_finding: called for each thing that is broken before the repair begins.

    Raises:
        InvalidInput: no index, or the clips are not those that the shards were made from.
        BadShard: the index is damaged.
        EnvironmentProblem: no space, no backend, no Ray, or another run holds the folder.
    """
    index = Index.read(folder)
    config = config_of(index)
    backend = resolve_backend(config.backend, on_gpu=workers.gpus > 0, here=workers.computes_here)
    clips = find_clips(clips_folder)
    other = f"{clips_folder} does not hold what {folder} was made from"
    try:
        plan = make_plan(clips, config=config, backend=backend, labels=index.labels)
    except InvalidInput as error:  # they have labels that the index does not name
        raise InvalidInput(f"{other}: {error}") from error
    infos = {info.name: info for info in index.shards}
    with exclusive(folder), swept(folder):
        has_plan = _require_same(plan, index, folder=folder, other=other)
        found = verify_folder(folder)
        for finding in found.findings:
            on_finding(finding)
        damaged = [shard for shard in plan.shards if shard.name in found.damaged]
        failed = {one.shard: one.problem for one in found.findings if one.shard == INDEX_NAME}
        # known before: what is not to be had now would end the repair of all others
        failed |= {shard.name: lacks for shard in damaged if (lacks := _unreadable(shard, clips_folder))}
        todo = [shard for shard in damaged if shard.name not in failed]
        target = FolderTarget(folder=folder)
        check_space(target, todo)
        total = sum(len(shard.clips) for shard in todo)
        # under names that are swept, whatever ends this
        final = {temporary_beside(folder / shard.name).name: shard for shard in todo}
        repaired: list[str] = []
        computed = compute_shards(
            [replace(shard, name=name) for name, shard in final.items()],
            source=FolderSource(folder=clips_folder),
            target=target,
            attributes=attributes_of(plan, config, backend),
            config=config,
            backend=backend,
            workers=workers,
            on_clip=lambda clip: on_progress(total),
        )
        with closing(computed):  # no worker may write when the folder is given up
            for staged, result in computed:
                name = final[staged.name].name
                reason = _difference(result, infos[name])
                if reason is not None:
                    failed[name] = reason
                    continue
                try:
                    rename_into_place(folder / staged.name, folder / name)
                except OSError as error:  # there is a folder of its name, for example
                    failed[name] = f"{folder / name} cannot be put in its place: {error.strerror}"
                    continue
                repaired.append(name)
        if not has_plan:
            plan.write(folder)
    return RepairReport(shards=len(index.shards), repaired=tuple(sorted(repaired)), failed=failed)


def _unreadable(shard: PlannedShard, folder: Path) -> str:
    """The first clip of a shard that is gone or another than before; empty if there is none."""
    for clip in shard.clips:
        try:
            check_bytes(clip, folder / clip.path)
        except BadMedia:
            continue  # it has been no good before
        except UnreadableFile as error:
            return str(error)
    return ""


def config_of(index: Index) -> FlowConfig:
    """The configuration that made the shards of an index.

    Raises:
        InvalidInput: the index holds none that this version knows.
    """
    try:
        config = decode(FlowConfig, index.config, where="config")
        if unknown := sorted(index.config.keys() - asdict(config).keys()):
            raise InvalidInput(f"config has {', '.join(unknown)}")
    except InvalidInput as error:
        raise InvalidInput(
            f"the configuration in {INDEX_NAME} is not one of this version: {error}; repair with the version that made "
            "the shards"
        ) from error
    return config


def _require_same(plan: Plan, index: Index, *, folder: Path, other: str) -> bool:
    """That the plan is the one the shards were made by, or `other` is said; returns whether its file is whole."""
    if json.loads(json.dumps(plan.settings)) != index.config:
        raise InvalidInput(f"{other}: its plan has another configuration than {INDEX_NAME}")
    if (names := [shard.name for shard in plan.shards]) != [info.name for info in index.shards]:
        raise InvalidInput(
            f"{other}: it gives {len(names)} shards with the names {', '.join(names[:2])}, ..., {INDEX_NAME} has "
            f"{len(index.shards)}; give the clips of that run, or make all anew with `preprocess flow --replan`"
        )
    try:
        old = read_plan(folder)
    except InvalidInput:
        return False  # it is damaged, and written again
    if old is None:
        return False
    if old["fingerprint"] != plan.fingerprint:
        raise InvalidInput(
            f"{other} ({difference(old, plan)}, says {PLAN_NAME}); give the clips of that run, or make all anew with "
            "`preprocess flow --replan`"
        )
    return True


def _difference(result: ShardResult | WorkerDied, info: ShardInfo) -> str | None:
    """Why what was made is not what the index says; None if it is."""
    if isinstance(result, WorkerDied):
        return str(result)
    if result.info.sha256 == info.sha256:
        return None
    lost = "".join(f"; clip {key}: {reason}" for key, reason in result.failed.items())
    return (
        f"what these clips give has sha256 {result.info.sha256[:12]}..., {INDEX_NAME} says {info.sha256[:12]}...: a "
        f"clip changed since, or this is another version of kineflow or of a library{lost}"
    )
