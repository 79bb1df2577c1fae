"""The clips that archives of a mirror hold: read all of them that can help, and hand over what becomes of each clip.

Archives are the unit of work. Those that replace corrupt clips come first, so that the good copy is the one that
counts; then all others, spread over the workers. A run that was stopped reads only archives that were not read whole.
"""

import logging
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import Cause, TemporarilyUnavailable, Unavailable, WorkerDied
from preprocess.mirror.ledger import ArchiveJournal, ArchiveRecord, append_ledger, read_ledger
from preprocess.mirror.wanted_index import write_wanted_index
from preprocess.mirror.worker import ArchiveResult, ArchiveTask, take_archive
from preprocess.outcomes import ManifestEntry, Outcome, Standing
from preprocess.sources.http import Connection
from preprocess.sources.mirror import Archive, narrowed
from preprocess.status.work import Work
from preprocess.target import workspace

OnWork = Callable[[Work], None]
Ended = tuple[ArchiveTask, ArchiveResult | WorkerDied]

_PASSING = {Outcome.TEMPORARY, Outcome.QUARANTINED}
"""Outcomes of an archive that may be another one the next time."""

logger = logging.getLogger(__name__)


class MirrorStage:
    """One pass over the archives of a mirror.

    Args:
        archives: see `preprocess.sources.mirror.archives_of`.
        wanted: every clip of the list; an archive member named by an id alone is told from these.
        entries: the manifest as it stands; looked at again whenever an entry was handed over and written.
        config: where to.
        connection: how to read.
        run: how to spread tasks: `preprocess.workers.run_tasks` with its workers given. Called with a function, the
            tasks and `on_tick`; its results may be closed before their end.
        on_work: called here for each clip that was decoded anywhere, with what that took.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        *,
        wanted: Sequence[Clip],
        entries: Mapping[str, Standing],
        config: DownloadConfig,
        connection: Connection,
        run: Callable[..., Iterator[Ended]],
        on_work: OnWork = lambda work: None,
    ) -> None:
        self._archives = tuple(archives)
        self._wanted = wanted
        self._entries = entries
        self._config = config
        self._connection = connection
        self._run = run
        self._on_work = on_work
        self._pending: set[str] = set()
        self._records: dict[str, ArchiveRecord] = {}
        self._unread: set[str] = set()
        self._refused: dict[str, ManifestEntry] = {}

    def take(self, pending: Sequence[Clip]) -> Iterator[ManifestEntry]:
        """What the archives hold of the clips that are still to be had.

        Each entry must be in the manifest, and in `entries`, before the next one is asked for: what was handed over is
        forgotten here. A clip that no archive holds gets no entry; `missing_entry` makes one, where no other source
        follows. Of a clip found twice, a good copy stands against a bad one.

        Raises:
            EnvironmentProblem: no space left, for example; what was stored is handed over by the next run.
        """
        self._pending = {clip.key for clip in pending}
        for journal in ArchiveJournal.leftovers(self._config.out):
            yield from self._accepted(filter(self._is_still_so, journal.entries.values()))
            journal.delete()  # also the tries that led to nothing: a run that was killed says nothing about a clip
        archives = narrowed(self._archives, pending)
        if len(archives) < len(self._archives):
            logger.info(
                "%d of %d archives are of other splits or classes",
                len(self._archives) - len(archives),
                len(self._archives),
            )
        for group in (True, False):
            yield from self._read([archive for archive in archives if archive.replaces is group])
        failed = len(self._failed)
        read = len(self._records) - failed
        logger.info("%d archives read, %d left unread, %d failed", read, len(self._unread), failed)

    def missing_entry(self, clip: Clip) -> ManifestEntry:
        """The entry of a clip that was not found, to be used when the mirror is the last source."""
        reason, failed = f"in none of the {len(self._records) + len(self._unread)} archives", self._failed
        if not failed:
            return ManifestEntry.of_error(clip, Unavailable(reason, cause=Cause.NOT_FOUND), source="mirror")
        # it may be in one that another run can read: mended, or back at its address
        first = min(failed, key=lambda record: record.outcome not in _PASSING)
        reason += f", of which {len(failed)} could not be read whole, the first: {first.reason}"
        for_now = TemporarilyUnavailable(reason, cause=Cause(first.cause))
        return ManifestEntry.of_error(clip, for_now, source="mirror")

    @property
    def _failed(self) -> list[ArchiveRecord]:
        """Of the archives that could not be read whole."""
        return [record for record in self._records.values() if record.outcome is not Outcome.DONE]

    def _read(self, archives: Sequence[Archive]) -> Iterator[ManifestEntry]:
        """Read archives, those that failed for now again after a wait."""
        policy, tries = self._config.retries, 0
        while archives and self._pending:
            again: list[Archive] = []
            asked_s = [0.0]
            with closing(self._results(archives)) as results:
                for task, result in results:
                    yield from self._settled(task, result)
                    if not self._pending:
                        return
                    wait_s = getattr(result, "retry_after_s", None) or 0.0
                    if self._failed_for_now(task.archive) and wait_s <= policy.longest_s:
                        again.append(task.archive)
                        asked_s.append(wait_s)
            tries += 1
            if not again or tries >= policy.tries:
                return
            wait_s = policy.wait_s(tries, retry_after_s=max(asked_s))
            logger.warning("%d archives could not be read whole; again in %.0f s", len(again), wait_s)
            time.sleep(wait_s)
            archives = again

    def _results(self, archives: Sequence[Archive]) -> Generator[Ended, None, None]:
        index = workspace(self._config.out) / f"wanted-{secrets.token_hex(4)}.tsv"
        write_wanted_index(index, self._wanted, pending=self._pending)
        take = partial(take_archive, config=self._config, connection=self._connection)
        try:
            yield from self._run(take, self._tasks(archives, index), on_tick=self._on_work)
        finally:
            index.unlink(missing_ok=True)

    def _tasks(self, archives: Sequence[Archive], index: Path) -> list[ArchiveTask]:
        ledger = read_ledger(self._config.out)
        names = self._pending | {key[:11] for key in self._pending}
        tasks = []
        for archive in archives:
            record = ledger.get(archive.address)
            known = record.version if record is not None and not self._may_help(record, names) else None
            tasks.append(ArchiveTask(archive=archive, wanted=index, known=known))
        return tasks

    def _may_help(self, record: ArchiveRecord, names: set[str]) -> bool:
        """Whether reading the same archive again may give something new."""
        # some published archives hold a few corrupt clips each: these alone are no reason to read them all again
        hopeless = set() if "bad_media" in self._config.retry else set(record.refused)
        return record.outcome is not Outcome.DONE or any(
            name in names and name not in hopeless for name in record.members
        )

    def _settled(self, task: ArchiveTask, result: ArchiveResult | WorkerDied) -> Iterator[ManifestEntry]:
        address = task.archive.address
        journal = ArchiveJournal.of(address, folder=self._config.out)
        yield from self._accepted(journal.entries.values())
        if isinstance(result, WorkerDied):
            record: ArchiveRecord | None = ArchiveRecord(
                address=address, outcome=Outcome.QUARANTINED, cause=result.cause.value, reason=str(result)
            )
        else:
            record = result.record
        if record is None:
            self._unread.add(address)
            return
        self._records[address] = record
        append_ledger(self._config.out, record)
        if record.outcome is Outcome.DONE:
            logger.info(
                "%s: %d stored, %d no good, %d settled before, %d not wanted, skipped %s",
                address,
                record.stored,
                len(record.refused),
                record.settled,
                record.unwanted,
                dict(record.skipped or {}),
            )
        else:
            logger.warning("archive not read whole: %s", record.reason)
        if not self._failed_for_now(task.archive):
            journal.delete()

    def _failed_for_now(self, archive: Archive) -> bool:
        record = self._records.get(archive.address)
        return record is not None and record.outcome in _PASSING

    def _accepted(self, found: Iterable[ManifestEntry]) -> Iterator[ManifestEntry]:
        """What is news to the driver: a journal is read again with each try at its archive."""
        for entry in found:
            known = self._entries.get(entry.key)
            if known is not None and known.outcome is Outcome.DONE:
                if entry.sha256 == known.sha256 or not self._is_in_place(entry):
                    continue
            elif entry.key not in self._pending or self._refused.get(entry.key) == entry:
                continue
            if entry.outcome is Outcome.DONE:
                self._pending.discard(entry.key)
            else:
                self._refused[entry.key] = entry
            yield entry

    def _is_still_so(self, entry: ManifestEntry) -> bool:
        """Whether what an earlier run wrote down holds: a file may have been deleted since."""
        return entry.outcome is not Outcome.DONE or self._is_in_place(entry)

    def _is_in_place(self, entry: ManifestEntry) -> bool:
        """Whether the file is what this entry says: of two archives with one clip, the later one has replaced it."""
        target = self._config.target
        return entry.outcome is Outcome.DONE and target.holds(entry.path, size=entry.bytes, sha256=entry.sha256)
