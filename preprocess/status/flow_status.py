"""How far a flow run is: clips as workers finish them, shards as they are published."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from preprocess.outcomes import Outcome
from preprocess.plan import Plan, PlannedShard
from preprocess.status.run_status import RunState, RunStatus, ShardCount
from preprocess.status.work import Work
from preprocess.trials import KILLED_REASON


@dataclass(frozen=True, kw_only=True)
class FinishedClip:
    """What a worker tells of a clip that is through; its shard is not published yet."""

    shard: str
    """File name."""
    key: str
    outcome: Outcome
    work: Work


class FlowStatus:
    """Publishes `status.json` in the folder of the shards, for one thread.

    Args:
        folder: of the shards, held by this run.
        plan: all shards.
        finished: name to failed clips (key to reason), of the shards that earlier runs made.
        unchecked: names of shards that earlier runs may have made: their clips count when that is known.
        on_progress: called for each clip that is through, with the number of clips this run tries.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan: Plan,
        finished: Mapping[str, Mapping[str, str]],
        unchecked: Collection[str] = (),
        on_progress: Callable[[int], None] = lambda total: None,
    ) -> None:
        clips = {shard.name: len(shard.clips) for shard in plan.shards}
        already: Counter[str] = Counter()
        for shard in plan.shards:
            if shard.name in finished:
                already += _outcomes(shard, finished[shard.name])
        self._unchecked = {name: clips[name] for name in unchecked}
        self._total = sum(clips.values()) - already.total() - sum(self._unchecked.values())
        self._on_progress = on_progress
        self._status = RunStatus(
            folder,
            command="flow",
            total=self._total,
            already=already,
            shards=ShardCount(total=len(plan.shards), already=len(finished), made=0),
        )
        self._told: dict[str, set[str]] = {}
        """Shard to keys, of shards that are under way."""

    @contextmanager
    def published(self) -> Iterator[None]:
        """From the beginning of the block to its end, and how it ended."""
        ended = RunState.STOPPED
        self.publish()
        try:
            yield
            ended = RunState.FINISHED
        finally:
            self._status.publish(state=ended)

    def publish(self) -> None:
        """If it is time to."""
        self._status.publish(state=RunState.RUNNING)

    def count(self, clip: FinishedClip) -> None:
        """A clip is through. It counts once; when a worker dies its shard is begun again, and all work counts."""
        self._make(clip.shard)
        told = self._told.setdefault(clip.shard, set())
        if clip.key not in told:
            told.add(clip.key)
            self._status.count(clip.outcome)
            self._on_progress(self._total)
        self._status.spend(clip.work)
        self.publish()

    def count_shard(
        self,
        shard: PlannedShard,
        *,
        size: int,
        failed: Mapping[str, str] = MappingProxyType({}),
        kept: bool = False,
    ) -> None:
        """A shard of `size` bytes is in its place, without the clips of `failed` (key to reason).

        One that is `kept` was there, unless this run made it: then its worker died when it was in its place.
        """
        if kept and shard.name in self._unchecked:
            del self._unchecked[shard.name]
            self._status.count_kept_shard(_outcomes(shard, failed))
        else:
            self._make(shard.name)
            told = self._told.pop(shard.name, set())
            for clip in shard.clips:
                if clip.key not in told:  # left out untried, since it kills workers
                    self._status.count(_outcome(failed.get(clip.key)))
            self._status.count_shard(size=size)
        self.publish()

    def _make(self, shard: str) -> None:
        """A shard is made by this run; what was there, if anything, was not sound."""
        clips = self._unchecked.pop(shard, 0)
        self._total += clips
        self._status.plan_more(clips)


def _outcomes(shard: PlannedShard, failed: Mapping[str, str]) -> Counter[str]:
    return Counter(_outcome(failed.get(clip.key)) for clip in shard.clips)


def _outcome(reason: str | None) -> Outcome:
    if reason is None:
        return Outcome.DONE
    return Outcome.QUARANTINED if reason == KILLED_REASON else Outcome.BAD_MEDIA
