"""Fetch, verify, trim and publish clips.

A clip counts only when its manifest line is written, and the line is written only after the clip was decoded whole
and renamed to its final place. Resume trusts the manifest, never the existence of a file; a clip whose file is gone, or
has another size than the manifest says, is fetched again.
"""

import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.collector import old_objects_spared
from preprocess.config import YOUTUBE_PER_HOUR, DownloadConfig, WorkerConfig
from preprocess.errors import Cause, EnvironmentProblem, TemporarilyUnavailable, Unavailable, WorkerDied
from preprocess.fetching import fetch_clip
from preprocess.folds import FOLD_LISTS
from preprocess.limiter import Limiter, Pause
from preprocess.mirror.ledger import LEDGER_NAME, ArchiveJournal
from preprocess.mirror.stage import MirrorStage
from preprocess.outcomes import (
    GONE,
    MANIFEST_NAME,
    MISSING_NAME,
    ManifestEntry,
    Outcome,
    Standing,
    append_manifest,
    count_outcomes,
    read_standings,
    write_missing,
)
from preprocess.paths import exclusive, make_folder, swept
from preprocess.plan import PLAN_NAME
from preprocess.schedule import ClipQueue
from preprocess.sources.http import Connection
from preprocess.sources.mirror import archives_of, check_mirror
from preprocess.sources.ytdlp import export_browser_cookies, require_javascript
from preprocess.status.run_status import RunState, RunStatus
from preprocess.status.work import Work
from preprocess.target import workspace
from preprocess.wanted import LIST_INFO_NAME, LIST_NAME, Wanted
from preprocess.workers import InOrder, WorkerPool, worker_pool

_RECORDS = (LIST_NAME, LIST_INFO_NAME, LEDGER_NAME, MISSING_NAME, MANIFEST_NAME)
"""Files beside the clips, with an address too."""
_ANSWERS = {Outcome.UNAVAILABLE, Outcome.BAD_MEDIA}
"""Outcomes that a source stays with; another one may have the clip all the same."""
_NO_GOOD = {Outcome.BAD_MEDIA, Outcome.QUARANTINED}
"""Outcomes of the copies that archives have."""
_WEIGHTS = {Outcome.TEMPORARY: 1, Outcome.QUARANTINED: 2}
"""Of outcomes that stand whatever another source answers: the heavier one, of several."""
_YOUTUBE_PAUSE_S = 900.0
_URL_PAUSE_S = 60.0
_KILL_AFTER = 1.2  # times the deadline: a worker that its own alarm could not end

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DownloadReport:
    """How a run ended."""

    outcomes: dict[str, int]
    """Outcome to number, of all that was asked for: with `refused` and `not_tried` they add up to `rows`."""
    rows: int
    """Wanted clips and refused rows."""
    fetched: int
    """Clips done by this run."""
    missing: int
    """Rows of `missing.csv`: clips that are not done and rows that were refused."""


def download(
    wanted: Wanted,
    *,
    config: DownloadConfig,
    workers: WorkerConfig,
    on_clip: Callable[[ManifestEntry, int], None] = lambda entry, total: None,
    on_pause: Callable[[Pause], None] = lambda pause: None,
) -> DownloadReport:
    """Get every clip that the manifest does not have yet; always leaves `list.csv`, `list.json` and `missing.csv`.

    Args:
        wanted: the clips, and the rows that are none.
        config: where from and where to.
        workers: how many processes.
        on_clip: called with each clip that has its outcome and the number of clips this run tries.
        on_pause: called with each pause of a source.

    Raises:
        InvalidInput: the folder holds shards, or what `preprocess index` made; no such mirror, or a proxy that cannot
            be used for it.
        EnvironmentProblem: no space, no Ray, no JavaScript for YouTube, nothing but walls, or another run holds the
            folder; what was done stays done.
    """
    _check_sources(config)
    config = config.absolute()
    make_folder(config.out)
    with exclusive(config.out), swept(config.out), config.target.records(_RECORDS) as records:
        for sign, holds in ((PLAN_NAME, "shards"), (FOLD_LISTS[1], "what `preprocess index` made")):
            config.target.check_not_taken(sign, holds=holds)
        shutil.rmtree(workspace(config.out), ignore_errors=True)
        wanted.write(config.out)
        entries = read_standings(config.out, is_there=config.target.sized())
        if gone := sum(entry.reason == GONE for entry in entries.values()):
            logger.warning("%d clips of %s are fetched again where wanted: of each, %s", gone, config.out, GONE)
        left = _not_done(wanted.clips, entries, place=config.target.name)
        if not left:
            ArchiveJournal.forget_all(config.out)
        todo = [clip for clip in left if _sources_left(entries.get(clip.key), config)]
        done, fetched = len(wanted.clips) - len(left), 0
        already = count_outcomes(left, entries, wanted.refused, done=done)
        status = RunStatus(config.out, command="download", total=len(todo), already=already)
        ended = RunState.STOPPED
        # clips of which an archive had no good copy: another one may, and a count must not fall
        undecided: dict[str, tuple[Outcome, str]] = {}
        try:
            run = _Run(
                wanted=wanted,
                entries=entries,
                config=_with_browser_cookies(config),
                workers=workers,
                on_pause=on_pause,
                status=status,
            )
            # closed, since no worker may write when the folder is given up
            with old_objects_spared(), closing(run.outcomes(todo)) as outcomes_so_far:
                for entry in outcomes_so_far:
                    append_manifest(config.out, entry)
                    records.tick()
                    status.spend(Work(frames=entry.frame_count, bytes=entry.bytes))
                    before, entries[entry.key] = entries.get(entry.key), entry.standing
                    if _is_done(before):
                        continue  # archives may hold a clip twice: it counts once
                    fetched += entry.outcome is Outcome.DONE
                    if entry.key not in undecided:
                        on_clip(entry, len(todo))
                    if entry.outcome in _NO_GOOD and entry.source.endswith("mirror"):
                        undecided[entry.key] = entry.outcome, entry.source
                    else:
                        undecided.pop(entry.key, None)
                        status.count(entry.outcome, source=entry.source)
            ended = RunState.FINISHED
        finally:
            for outcome, source in undecided.values():
                status.count(outcome, source=source)
            status.publish(state=ended)
            shutil.rmtree(workspace(config.out), ignore_errors=True)
            missing = write_missing(config.out, left, entries, wanted.refused)
        outcomes = count_outcomes(left, entries, wanted.refused, done=done)
        return DownloadReport(outcomes=outcomes, rows=sum(outcomes.values()), fetched=fetched, missing=missing)


@dataclass(kw_only=True)
class _Run:
    """One run over the chain of sources."""

    wanted: Wanted
    entries: Mapping[str, Standing]
    config: DownloadConfig
    workers: WorkerConfig
    on_pause: Callable[[Pause], None]
    status: RunStatus
    told: set[tuple[str, float]] = field(default_factory=set)
    """Pauses, by identity and end."""

    def outcomes(self, clips: Sequence[Clip]) -> Generator[ManifestEntry, None, None]:
        """The outcome of each clip: `done` by the first source that has it, or what the last one said.

        That counts for now only, where another source failed for now: it may have the clip the next time. And a clip
        that killed its workers would kill some in each run, if it counted as anything else. A source that answered an
        earlier run is not asked again. Each outcome must be in the manifest before the next one is asked for.
        """
        if not clips:
            return
        left = {clip.key: clip for clip in clips}
        answered = {key: before for key in left if (before := self.entries.get(key)) and self._is_answered(before)}
        asked_for = {key: _sources_left(before, self.config) for key, before in answered.items()}
        stands: dict[str, ManifestEntry] = {}
        chain = self.config.chain
        # archives have their journals in the driver's folder
        writes = [self.config.out] if "mirror" in chain else self.config.target.shared
        with worker_pool(self.workers, writes=writes, reads=_read_by_workers(self.config)) as pool:
            for source in chain:
                ask = self._ask_mirror if source == "mirror" else self._ask
                lacking = [clip for clip in left.values() if source in asked_for.get(clip.key, chain)]
                for entry in ask(pool, source, lacking) if lacking else ():
                    if entry.outcome is Outcome.DONE:
                        left.pop(entry.key, None)
                        yield entry
                        continue
                    said = max(entry, stands.get(entry.key, entry), key=_weight)
                    if source == asked_for.get(entry.key, chain)[-1]:
                        yield _said_by_all(said, answered.get(entry.key), asked_for.get(entry.key, chain))
                    elif _weight(said):
                        stands[entry.key] = said

    def _is_answered(self, before: Standing) -> bool:
        return before.outcome in _ANSWERS and before.outcome.value not in self.config.retry

    def _ask_mirror(self, pool: WorkerPool, source: str, clips: Sequence[Clip]) -> Iterator[ManifestEntry]:
        config = self.config
        assert config.mirror is not None
        connection = _connection(config)
        try:
            archives = archives_of(config.mirror, splits={clip.split for clip in clips}, connection=connection)
        except (Unavailable, TemporarilyUnavailable) as error:
            logger.warning("no mirror: %s", error)
            # no archive was looked into, which says nothing about a clip
            for_now = TemporarilyUnavailable(str(error), cause=error.cause)
            yield from (ManifestEntry.of_error(clip, for_now, source=source) for clip in clips)
            return
        stage = MirrorStage(
            archives,
            wanted=self.wanted.clips,
            entries=self.entries,
            config=config,
            connection=connection,
            on_work=self.status.spend,
            run=lambda function, items, *, on_tick: pool.run(
                function,
                InOrder(items),
                on_tick=on_tick,
                on_poll=lambda: self.status.publish(state=RunState.RUNNING),
                on_lost=lambda task: ArchiveJournal.of(task.archive.address, folder=config.out).forgive(),
            ),
        )
        given = set()
        for entry in stage.take(clips):
            given.add(entry.key)
            yield entry
        yield from (stage.missing_entry(clip) for clip in clips if clip.key not in given)

    def _ask(self, pool: WorkerPool, source: str, clips: Sequence[Clip]) -> Iterator[ManifestEntry]:
        config, names = self.config, tuple(self.config.askers(source))
        limiter = pool.shared("limiter", Limiter)
        queue = ClipQueue(
            clips,
            limiter=limiter,
            identities=names,
            per_hour=config.rate or (YOUTUBE_PER_HOUR if source == "youtube" else None),
            policy=config.retries,
        )
        fetch = partial(fetch_clip, source=source, config=config)
        look = partial(self._look, limiter, queue, names)
        pause_s = config.pause_s or (_YOUTUBE_PAUSE_S if source == "youtube" else _URL_PAUSE_S)
        for attempt, answer in pool.run(fetch, queue, on_poll=look, deadline_s=config.deadline_s * _KILL_AFTER):
            if isinstance(answer, WorkerDied):
                entry, retry_after_s = ManifestEntry.of_error(attempt.clip, answer, source=source), None
            else:
                entry, retry_after_s = answer.entry, answer.retry_after_s
                self.status.spend(answer.work)
            temporary = entry.outcome is Outcome.TEMPORARY
            limiter.report(
                attempt.identity,
                cause=Cause(entry.cause) if temporary else None,
                pause_s=pause_s,
                reason=entry.reason,
                retry_after_s=retry_after_s,
            )
            if not (temporary and queue.again(attempt, retry_after_s=retry_after_s)):
                yield entry

    def _look(self, limiter: Limiter, queue: ClipQueue, names: tuple[str, ...]) -> None:
        pauses = limiter.pauses(names)
        state = RunState.PAUSED if len(pauses) == len(names) else RunState.RUNNING
        self.status.publish(state=state, pauses=pauses, waiting=queue.waiting)
        for pause in pauses:
            if (pause.identity, pause.until) not in self.told:
                self.told.add((pause.identity, pause.until))
                self.on_pause(pause)
        walled_s, words = limiter.walled(names)
        if walled_s > self.config.give_up_s:
            raise EnvironmentProblem(
                f"nothing but walls for {walled_s / 3600:.1f} hours: {words}; what is done stays done, run again later,"
                " or with --cookies or --proxy"
            )


def _check_sources(config: DownloadConfig) -> None:
    """Whether each can be asked at all: its turn may come when those before it were asked for days."""
    if "youtube" in config.chain:
        logger.info("JavaScript for YouTube: %s", require_javascript())
    if config.mirror is not None:
        check_mirror(config.mirror)
        _connection(config)


def _connection(config: DownloadConfig) -> Connection:
    return Connection(timeout_s=config.socket_timeout_s, proxy=config.identities[0].proxy)


def _weight(entry: ManifestEntry) -> int:
    return _WEIGHTS.get(entry.outcome, 0)


def _with_browser_cookies(config: DownloadConfig) -> DownloadConfig:
    if config.cookies_from_browser is None:
        return config
    # read once, here: workers may be on machines without that browser, and reading takes seconds
    file = workspace(config.out) / "cookies.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    export_browser_cookies(config.cookies_from_browser, file)
    return replace(config, identities=tuple(replace(one, cookies=file) for one in config.identities))


def _read_by_workers(config: DownloadConfig) -> list[Path]:
    """The files that workers read, and one of each folder."""
    places = [config.source_dir, *([Path(config.mirror)] if config.mirror else [])]
    some = [
        next((path for path in chain([place], place.rglob("*")) if path.is_file()), place)
        for place in places
        if place is not None and place.exists()
    ]
    return [*some, *(one.cookies for one in config.identities if one.cookies is not None)]


def _not_done(clips: Sequence[Clip], entries: Mapping[str, Standing], *, place: str) -> list[Clip]:
    """The clips that are still to be had; a warning counts those that another list had put elsewhere."""
    left, moved = [], []
    for clip in clips:
        entry = entries.get(clip.key)
        if entry is None or entry.outcome is not Outcome.DONE:
            left.append(clip)
        elif (entry.split, entry.label) != (clip.split, clip.label):
            moved.append(clip.key)
    if moved:
        logger.warning(
            "%d clips of %s are in another split or class than this list says, such as %s; to have them in these, "
            "delete their files and run the command again",
            len(moved),
            place,
            moved[0],
        )
    return left


def _is_done(entry: Standing | None) -> bool:
    return entry is not None and entry.outcome is Outcome.DONE


def _sources_left(entry: Standing | None, config: DownloadConfig) -> tuple[str, ...]:
    """Whom to ask for a clip, in view of what earlier runs were told."""
    if entry is None or entry.outcome is Outcome.TEMPORARY or entry.outcome.value in config.retry:
        return config.chain
    if entry.outcome not in _ANSWERS:
        return ()
    asked = set(entry.source.split(","))
    if entry.outcome is Outcome.UNAVAILABLE:
        asked.discard("directory")  # costs nothing to look into again
    return tuple(source for source in config.chain if source not in asked)  # another one may have it


def _said_by_all(said: ManifestEntry, before: Standing | None, asked: Sequence[str]) -> ManifestEntry:
    """What stands after `asked` said no more than `said`, with the sources that answered an earlier run."""
    sources = tuple(dict.fromkeys([*(before.source.split(",") if before else ()), *asked]))
    if before is not None and sources[-1] not in asked and not _weight(said):  # it was looked into a folder again
        said = replace(said, outcome=before.outcome, cause=before.cause, reason=before.reason)
    return replace(said, source=",".join(sources))
