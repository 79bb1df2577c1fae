"""How far a run is, published while it goes: `status.json`, for people and programs that look on.

A download publishes it in the folder of its clips, a flow run in that of its shards. It is not the truth (manifest and
shards are), so it is replaced every two seconds without being synced: after a power cut it may be gone, and nothing
depends on it.
"""

import json
import logging
import os
import socket
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.limiter import Pause
from preprocess.status.work import Work
from preprocess.typed_json import read_record
from preprocess.words import LAST_SECOND

STATUS_NAME = "status.json"
PUBLISH_EVERY_S = 2.0
RATE_WINDOW_S = 300.0
_BUCKETS = 60
_BUCKET_S = RATE_WINDOW_S / _BUCKETS
_FORMAT = "kineflow-status"
_VERSION = 2
_MOST_BYTES = 4 << 20  # a run publishes some kB

logger = logging.getLogger(__name__)


class RunState(StrEnum):
    """What a run does."""

    RUNNING = "running"
    PAUSED = "paused"
    """Everything waits until a source may be asked again."""
    FINISHED = "finished"
    STOPPED = "stopped"
    """Ended before its last clip, by a person or an error."""


@dataclass(frozen=True, kw_only=True)
class ShardCount:
    """How far the shards of a flow run are."""

    total: int
    """That the plan has."""
    already: int
    """Made by earlier runs, as far as they have been checked."""
    made: int
    """By this run."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The content of `status.json`."""

    command: str
    """`download` or `flow`."""
    pid: int
    host: str
    state: RunState
    started: float
    """Epoch seconds, as are all times."""
    updated: float
    total: int
    """Clips that this run tries; those of damaged shards are added when that is found out."""
    finished: int
    """Clips of these that have their outcome."""
    outcomes: dict[str, int]
    """Of this run's finished clips."""
    sources: dict[str, dict[str, int]]
    """The same, of each source that was asked."""
    already: dict[str, int]
    """What earlier runs left: all that the manifest says, or the shards that were there and have been checked."""
    waiting: int
    """Clips that will be tried once more."""
    rate_per_s: float | None
    """Clips a second over the last 300 seconds of work, pauses left out; None in the first seconds."""
    rate_overall_per_s: float | None
    """Since the start, pauses included."""
    eta_s: float | None
    """Seconds to the end from `updated` on; None while unknown."""
    pauses: tuple[Pause, ...]
    work: Work
    """Of this run."""
    shards: ShardCount | None
    """None where none are made."""

    def left_s(self, *, now: float) -> float | None:
        """Seconds to the end from `now` on, of a run that goes on; None while unknown."""
        return None if self.eta_s is None else max(0.0, self.eta_s - (now - self.updated))

    @classmethod
    def read(cls, folder: Path) -> "Status | None":
        """What a run in `folder` published last; None when there was none.

        Raises:
            InvalidInput: unreadable or damaged, as after a power cut.
        """
        path = folder / STATUS_NAME
        marks, remedy = {"format": _FORMAT, "version": _VERSION}, "; the next run replaces it"
        status = read_record(cls, path, marks=marks, name="status", most=_MOST_BYTES, remedy=remedy)
        if status is None:
            return None
        times = [status.started, status.updated, *(pause.until for pause in status.pauses)]
        if not all(0 <= at <= LAST_SECOND for at in times):
            raise InvalidInput(f"{path} holds a time that no calendar has{remedy}")
        return status


class RunStatus:
    """Counts what a run finishes and publishes it; for one thread.

    Args:
        folder: that this run makes and holds; `status.json` goes there.
        command: what runs, such as `download`.
        total: clips that this run tries.
        already: outcome to clips, as earlier runs left them.
        shards: how many there are to be; None where none are made.
        clock: epoch seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: str,
        total: int,
        already: Mapping[str, int],
        shards: ShardCount | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / STATUS_NAME
        self._command = command
        self._total = total
        self._already = Counter(already)
        self._shards = shards
        self._work = Work()
        self._clock = clock
        self._state = RunState.RUNNING
        self._pauses: tuple[Pause, ...] = ()
        self._started = self._seen = clock()
        self._worked_s = 0.0
        self._published: float | None = None
        self._is_failing = False
        self._outcomes: Counter[str] = Counter()
        self._sources: defaultdict[str, Counter[str]] = defaultdict(Counter)
        # clips by number of the time slice; of the latest slices only, so that days cost no more than minutes
        self._slices: deque[tuple[int, int]] = deque(maxlen=_BUCKETS)

    def count(self, outcome: str, *, source: str = "") -> None:
        """One clip got its outcome, from `source` if one was asked."""
        self._advance(self._clock())
        self._outcomes[outcome] += 1
        if source:
            self._sources[source][outcome] += 1
        number = int(self._worked_s // _BUCKET_S)
        clips = self._slices.pop()[1] if self._slices and self._slices[-1][0] == number else 0
        self._slices.append((number, clips + 1))

    def spend(self, work: Work) -> None:
        """Workers did so much more."""
        self._work += work

    def count_shard(self, *, size: int) -> None:
        """One more shard, of `size` bytes, is in its place."""
        assert self._shards is not None
        self._shards = replace(self._shards, made=self._shards.made + 1)
        self.spend(Work(bytes=size))

    def count_kept_shard(self, outcomes: Mapping[str, int]) -> None:
        """One more shard was there and is sound, with these outcomes of its clips."""
        assert self._shards is not None
        self._shards = replace(self._shards, already=self._shards.already + 1)
        self._already.update(outcomes)

    def plan_more(self, clips: int) -> None:
        """This run tries so many clips more."""
        self._total += clips

    def publish(self, *, state: str, pauses: Sequence[Pause] = (), waiting: int = 0) -> None:
        """Replace `status.json`, unless that was done in the last two seconds and `state` is the same.

        A disk that refuses it is logged once and costs the run nothing.

        Args:
            state: a `RunState`.
            pauses: what is left alone now, and until when.
            waiting: clips that will be tried once more.

        Raises:
            ValueError: `state` is none of `RunState`.
        """
        now = self._clock()
        self._advance(now)
        is_new = RunState(state) is not self._state
        self._state, self._pauses = RunState(state), tuple(pauses)
        # a clock that was set back must not silence the run until it has caught up
        is_due = self._published is None or not 0 <= now - self._published < PUBLISH_EVERY_S
        if not (is_new or is_due):
            return
        self._published = now
        document = {"format": _FORMAT, "version": _VERSION, **asdict(self._status(now, waiting))}
        self._replace((json.dumps(document, indent=1, sort_keys=True) + "\n").encode())

    @property
    def rate_per_s(self) -> float | None:
        """Clips a second over the last 300 seconds of work, pauses left out; None in the first five seconds."""
        if self._worked_s < _BUCKET_S:
            return None
        oldest = int(self._worked_s // _BUCKET_S) - _BUCKETS + 1
        clips = sum(count for number, count in self._slices if number >= oldest)
        return clips / (self._worked_s - max(oldest, 0) * _BUCKET_S)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last clip has its outcome, a pause that holds up everything included.

        None if unknown, and while only shards of earlier runs are left to be checked.
        """
        left = self._total - self._outcomes.total()
        is_checking = self._shards is not None and self._shards.already + self._shards.made < self._shards.total
        if self._state is RunState.FINISHED or (left <= 0 and not is_checking):
            return 0.0
        rate = self.rate_per_s if left > 0 else None
        if not rate or self._state is RunState.STOPPED:
            return None
        pause_s = 0.0
        if self._state is RunState.PAUSED and self._pauses:
            pause_s = max(0.0, min(pause.until for pause in self._pauses) - self._clock())
        return pause_s + left / rate

    def _advance(self, now: float) -> None:
        if self._state is not RunState.PAUSED:
            self._worked_s += max(0.0, now - self._seen)
        self._seen = now

    def _status(self, now: float, waiting: int) -> Status:
        elapsed_s = now - self._started
        return Status(
            command=self._command,
            pid=os.getpid(),
            host=socket.gethostname(),
            state=self._state,
            started=self._started,
            updated=now,
            total=self._total,
            finished=self._outcomes.total(),
            outcomes=dict(self._outcomes),
            sources={source: dict(outcomes) for source, outcomes in self._sources.items()},
            already=dict(self._already),
            waiting=waiting,
            rate_per_s=self.rate_per_s,
            rate_overall_per_s=self._outcomes.total() / elapsed_s if elapsed_s > 0 else None,
            eta_s=self.eta_s,
            pauses=self._pauses,
            work=self._work,
            shards=self._shards,
        )

    def _replace(self, content: bytes) -> None:
        # one name, not a fresh one each time: what a kill leaves is overwritten by the next run
        temporary = self._path.with_name(f".{self._path.stem}.tmp{self._path.suffix}")
        try:
            temporary.write_bytes(content)
            temporary.replace(self._path)
        except OSError as error:
            if not self._is_failing:
                logger.warning(
                    "cannot write %s: %s; `preprocess status` shows what was there before", self._path, error
                )
            self._is_failing = True
        else:
            self._is_failing = False
