"""Brings shards near before their clips are asked for, in the order of the plan."""

import logging
import threading
import weakref
from collections.abc import Iterator

from pipelines.sampling import Sampler
from preprocess.errors import BadShard, KineflowError
from preprocess.shards import ShardInfo, ShardSet, ShardStore

logger = logging.getLogger(__name__)

AHEAD_BATCHES = 16
"""Batches whose shards are looked for ahead of the one that was asked for."""


class Prefetcher:
    """A thread that fetches the shards of the next batches of one rank.

    It never runs further ahead than half of the cache, so that what it brings does not push out what it has brought. A
    shard that cannot be fetched is left to the loader, which meets it in its turn.

    Args:
        shards: of which some are far.
        sampler: the plan.
        max_bytes: of the shards of the batches ahead.
    """

    def __init__(self, shards: ShardSet, sampler: Sampler, *, max_bytes: int) -> None:
        self._aim = _Aim()
        self._thread = threading.Thread(
            target=_run, args=(self._aim, shards, sampler, max_bytes), name="kineflow-prefetch", daemon=True
        )
        self._thread.start()
        self._stop = weakref.finalize(self, self._aim.stop)

    def aim(self, epoch: int, number: int) -> None:
        """The batch that is wanted now; those after it follow."""
        self._aim.set(epoch, number)

    def close(self) -> None:
        """End the thread, once it is through with the shard that it is fetching."""
        self._stop()
        self._thread.join()


class _Aim:
    """Where the loader is; what the thread waits for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._position: tuple[int, int] | None = None
        self.stopped = False

    def set(self, epoch: int, number: int) -> None:
        with self._changed:
            self._position = (epoch, number)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify()

    def next(self, seen: tuple[int, int] | None) -> tuple[int, int] | None:
        """Another position than `seen`, when there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or self._position not in {None, seen})
            return None if self.stopped else self._position

    def is_at(self, position: tuple[int, int]) -> bool:
        return self._position == position and not self.stopped


def _run(aim: _Aim, shards: ShardSet, sampler: Sampler, max_bytes: int) -> None:
    position: tuple[int, int] | None = None
    while (position := aim.next(position)) is not None:
        for number, store, info in _ahead(shards, sampler, position, max_bytes=max_bytes):
            if not aim.is_at(position):
                break
            if number in shards.bad:
                continue
            try:
                store.fetch(info)
            except BadShard as error:
                logger.debug("not prefetched: %s", error)
            except KineflowError as error:
                logger.warning("prefetching stops: %s", error)
                return


def _ahead(
    shards: ShardSet, sampler: Sampler, position: tuple[int, int], *, max_bytes: int
) -> Iterator[tuple[int, ShardStore, ShardInfo]]:
    """The shards of the next batches, each once, the soonest needed first."""
    epoch, number = position
    seen: set[int] = set()
    total = 0
    for _ in range(AHEAD_BATCHES):
        for plan in sampler.batch(epoch, number):
            shard = int(shards.shard_of_clip[plan.clip])
            if shard in seen:
                continue
            seen.add(shard)
            store, info = shards.infos[shard]
            total += info.bytes
            if total > max_bytes:
                return
            yield shard, store, info
        number += 1
        if number >= len(sampler):
            epoch, number = epoch + 1, 0
