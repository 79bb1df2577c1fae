"""Clips that kill the worker that works on them: found out, tried alone once more, then left out with a reason.

A worker writes down which clip of its shard it begins and which it ends. What stands there as begun when the worker is
dead was in its hands. Only deaths of the same run count: a run that is killed says nothing about a clip.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from preprocess.clips import ClipFile
from preprocess.config import WorkerConfig
from preprocess.errors import WorkerDied
from preprocess.jsonl import append_line, read_lines
from preprocess.paths import make_folder
from preprocess.workers import InOrder, Tick, worker_pool

DEATHS = 2
"""A clip that so many workers died with is not tried again."""
KILLED_REASON = f"{DEATHS} worker processes died while they worked on it"
_FOLDER = ".trials"

Result = TypeVar("Result")


class Named(Protocol):
    """A shard, as far as its name."""

    @property
    def name(self) -> str:
        """File name."""


Shard = TypeVar("Shard", bound=Named)


class Trials:
    """What the workers of one shard began and ended.

    Args:
        name: of the shard's file.
        folder: of the shards.
    """

    def __init__(self, name: str, *, folder: Path) -> None:
        self._path = folder / _FOLDER / f"{name}.jsonl"

    def suspects(self) -> set[str]:
        """Keys of clips that one worker died with; others may have been in its hands too."""
        return {key for key, count in self._deaths().items() if 0 < count < DEATHS}

    def killers(self) -> set[str]:
        """Keys of clips that are not tried again."""
        return {key for key, count in self._deaths().items() if count >= DEATHS}

    def begun(self, clips: Iterable[tuple[ClipFile, int]]) -> Iterator[tuple[ClipFile, int]]:
        """The same clips, each written down when it is asked for.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        for clip, label in clips:
            make_folder(self._path.parent)
            append_line(self._path, {"begun": clip.key}, durable=False)  # outlives the process, which is enough
            yield clip, label

    def end(self, clip: ClipFile) -> None:
        """A clip is through, well or not."""
        append_line(self._path, {"ended": clip.key}, durable=False)

    def _deaths(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for key, change in read_lines(self._path, parse=_change):
            counts[key] += change
        return counts


def run_shards(
    make: Callable[[Shard, Tick], Result],
    todo: Sequence[Shard],
    *,
    folder: Path,
    workers: WorkerConfig,
    on_tick: Tick,
) -> Generator[tuple[Shard, Result | WorkerDied], None, None]:
    """As `preprocess.workers.run_tasks`; and a shard is tried again for as long as that finds clips that kill.

    Args:
        make: keeps the `Trials` of its shard, and leaves its killers out.
        todo: shards.
        folder: of the shards.
        workers: how many, and where.
        on_tick: called here for each clip that is finished anywhere.

    Raises:
        EnvironmentProblem: see `run_tasks`.
    """
    if not todo:
        return
    supply = InOrder(todo)
    found: dict[str, set[str]] = {}
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
    try:
        with worker_pool(workers) as pool:
            for shard, result in pool.run(make, supply, on_tick=on_tick):
                killers = Trials(shard.name, folder=folder).killers() if isinstance(result, WorkerDied) else set()
                if killers > found.get(shard.name, set()):
                    found[shard.name] = killers
                    supply.add(shard)
                else:
                    yield shard, result
    finally:
        shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _change(fields: dict[str, str]) -> tuple[str, int]:
    return (fields["begun"], 1) if "begun" in fields else (fields["ended"], -1)
