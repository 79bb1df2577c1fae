"""Clips that kill the worker that works on them: found out, tried alone once more, then left out with a reason.

A worker notes which clip of its shard it begins and which it ends, at a place that outlives it. What stands there as
begun when the worker is dead was in its hands. Only deaths of the same run count: a run that is killed says nothing
about a clip, and neither does a node that is lost or a GPU that fails.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from preprocess.clips import ClipFile
from preprocess.config import WorkerConfig
from preprocess.errors import WorkerDied
from preprocess.plan import PlannedShard
from preprocess.workers import InOrder, worker_pool

DEATHS = 2
"""A clip that so many workers died with is not tried again."""
KILLED_REASON = f"{DEATHS} worker processes died while they worked on it"

Result = TypeVar("Result")


class Notes:
    """How often each clip of a shard was begun and not ended; one for all workers of a run."""

    def __init__(self) -> None:
        self._open: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def begin(self, shard: str, key: str) -> None:
        """A worker takes a clip into its hands."""
        self._open[shard][key] += 1

    def end(self, shard: str, key: str) -> None:
        """It is through with it."""
        self._open[shard][key] -= 1

    def open(self, shard: str) -> dict[str, int]:
        """Key to number, of those begun and not ended."""
        return {key: count for key, count in self._open[shard].items() if count > 0}

    def forget(self, shard: str) -> None:
        """What is open is nobody's fault, or no longer of interest."""
        self._open.pop(shard, None)


class Trials:
    """What the workers of one shard began and ended.

    Args:
        name: of the shard's file.
        notes: of the run.
    """

    def __init__(self, name: str, *, notes: Notes) -> None:
        self._name = name
        self._notes = notes
        self._in_hand: set[str] = set()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Around the work: what leaves it as an error, as that a GPU failed, is told, and no clip is suspected of it,
        even if the worker ends.
        """
        try:
            yield
        finally:
            for key in self._in_hand:
                self._notes.end(self._name, key)

    def suspects(self) -> set[str]:
        """Keys of clips that one worker died with; others may have been in its hands too."""
        return {key for key, count in self._notes.open(self._name).items() if count < DEATHS}

    def killers(self) -> set[str]:
        """Keys of clips that are not tried again."""
        return {key for key, count in self._notes.open(self._name).items() if count >= DEATHS}

    def begun(self, clips: Iterable[tuple[ClipFile, int]]) -> Iterator[tuple[ClipFile, int]]:
        """The same clips, each noted when it is asked for."""
        for clip, label in clips:
            self._notes.begin(self._name, clip.key)
            self._in_hand.add(clip.key)
            yield clip, label

    def end(self, clip: ClipFile) -> None:
        """A clip is through, well or not."""
        self._in_hand.discard(clip.key)
        self._notes.end(self._name, clip.key)


def run_shards(
    make: Callable[..., Result],
    todo: Sequence[PlannedShard],
    *,
    workers: WorkerConfig,
    on_tick: Callable[[Any], None],
    on_poll: Callable[[], None] = lambda: None,
    writes: Sequence[Path] = (),
    reads: Sequence[Path] = (),
) -> Generator[tuple[PlannedShard, Result | WorkerDied], None, None]:
    """As `preprocess.workers.run_tasks`; and a shard is tried again for as long as that finds clips that kill.

    Args:
        make: called with a shard, something to call for each clip that is through, `notes=` and `helpers=`; keeps the
            `Trials` of its shard in the notes, and leaves its killers out.
        todo: shards.
        workers: how many, and where.
        on_tick: called here for each clip that is finished anywhere, with what was told of it.
        on_poll: called here about every second.
        writes: see `preprocess.workers.worker_pool`.
        reads: likewise.

    Raises:
        EnvironmentProblem: see `worker_pool`.
    """
    if not todo:
        return
    supply = InOrder(todo)
    found: dict[str, set[str]] = {}
    with worker_pool(workers, writes=writes, reads=reads) as pool:
        notes = pool.hosted(Notes)

        def forgive(shard: PlannedShard) -> None:
            notes.forget(shard.name)
            found.pop(shard.name, None)  # its killers are found anew

        for shard, result in pool.run(
            partial(make, notes=notes, helpers=pool.helpers),
            supply,
            on_tick=on_tick,
            on_poll=on_poll,
            on_lost=forgive,
        ):
            killers = Trials(shard.name, notes=notes).killers() if isinstance(result, WorkerDied) else set()
            if killers > found.get(shard.name, set()):
                found[shard.name] = killers
                supply.add(shard)
            else:
                notes.forget(shard.name)
                yield shard, result
