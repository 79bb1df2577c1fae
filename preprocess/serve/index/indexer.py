"""Keeps the index up to date, in a thread of its own, and hands it to those that look."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from preprocess.console import printable
from preprocess.errors import EnvironmentProblem
from preprocess.serve.index.counts import outcomes_of
from preprocess.serve.index.entries import Entries
from preprocess.serve.index.manifests import ManifestFeed
from preprocess.serve.index.samples import Sample, take_sample
from preprocess.serve.index.schema import held, open_for_reading, open_for_writing, remove, transaction
from preprocess.serve.index.shards import ShardFeed
from preprocess.serve.run_folders import Kind, RunFolder
from preprocess.serve.runs import Runs

REFRESH_S = 3.0
"""Seconds between two looks at manifests and shards."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of the manifests and shards the index has."""

    read: int
    """Bytes."""
    whole: int

    @property
    def is_behind(self) -> bool:
        """Whether pages show less than there is."""
        return self.read < self.whole


class Indexer:
    """The index of all runs: one thread writes it, any number read it.

    Args:
        path: of its file.
        runs: what is to be in it.

    Raises:
        InvalidInput: the file is something else.
        EnvironmentProblem: it cannot be written, or another server has it.
    """

    def __init__(self, path: Path, *, runs: Runs) -> None:
        self._path = path
        self._runs = runs
        self._lock = ExitStack()
        self._take()
        self._entries = Entries(self._db)
        self._idle: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._generation = 0
        self._is_doubted = threading.Event()
        self._is_undone = False
        self._told: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to keep it up to date."""
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that, and close the file."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        with self._opening:
            self._close_readers()
        self._db.close()
        self._lock.close()

    def distrust(self) -> None:
        """Have the index made anew: somebody who read it found it damaged."""
        self._is_doubted.set()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The index, as it is while the block lasts.

        Raises:
            sqlite3.DatabaseError: it is damaged.
        """
        with self._opening:
            generation = self._generation
            db = self._idle.pop() if self._idle else open_for_reading(self._path)
        try:
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        with self._opening:
            if generation == self._generation:
                self._idle.append(db)
            else:
                db.close()

    def progress(self) -> Progress:
        """How far it is."""
        with self.reading() as db:
            ((read, whole),) = db.execute("SELECT coalesce(sum(offset), 0), coalesce(sum(bytes), 0) FROM run")
        return Progress(read=read, whole=whole)

    def catch_up(self) -> None:
        """Take all that is there now, or until this is stopped."""
        folders = self._runs.folders()
        if self._is_doubted.is_set() or self._inode != self._inode_now():
            self._make_anew()
        elif self._is_undone:
            self._remember_anew()
        numbers = self._list_runs(folders)
        for run in folders:
            try:
                for _ in self._steps(run, numbers[run.name]):
                    if self._stop.is_set():
                        return
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 files of others hold what nobody thought of: no other run is to pay
                self._tell(f"the run {run.name} is not in the index", error)
                self._remember_anew()
                self._note(numbers[run.name], f"it cannot be shown: {error!r:.200}")
        with transaction(self._db):
            for number in numbers.values():
                take_sample(self._db, number, Sample(at=time.time(), outcomes=outcomes_of(self._db, number)))

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            began = time.monotonic()
            try:
                self.catch_up()
            except (sqlite3.OperationalError, EnvironmentProblem) as error:
                logger.warning("cannot write the index %s: %s; tried again", self._path, error)
                self._is_undone = True
            except sqlite3.Error as error:
                # whatever the file has become, and whatever is in memory of it: the truth lies in the manifests
                logger.warning("the index %s is made anew: %s", self._path, error)
                self.distrust()
            except Exception as error:  # noqa: BLE001 without this thread pages would show what was, and not say so
                self._tell(f"the index {self._path} does not follow; tried again", error)
                self._is_undone = True
            # a folder on a slow disk is not looked at all the time
            wait_s = max(REFRESH_S, 4 * (time.monotonic() - began))

    def _tell(self, what: str, error: Exception) -> None:
        """Log an error with its traceback, once: it comes back with every look at the same files."""
        if self._told.get(what) != repr(error):
            self._told[what] = repr(error)
            logger.error(what, exc_info=error)

    def _take(self, *, anew: bool = False) -> None:
        """Open the file, which no other server may have: its lock may have been deleted with it."""
        self._lock.enter_context(held(self._path))
        if anew:
            remove(self._path)
        self._db = open_for_writing(self._path)
        self._inode = self._inode_now()

    def _inode_now(self) -> int | None:
        """Number of the file that others would open; not that of ours any more once it was deleted, as it may be."""
        try:
            return self._path.stat().st_ino
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _make_anew(self) -> None:
        with self._opening:  # nobody may meet the moment without a file, or without its log or its tables
            self._close_readers()
            self._db.close()
            self._lock.close()
            self._take(anew=True)
        self._remember_anew()
        self._is_doubted.clear()

    def _close_readers(self) -> None:
        """Those that are read from are closed when they come back."""
        self._generation += 1
        for db in self._idle:
            db.close()
        self._idle.clear()

    def _remember_anew(self) -> None:
        """What was undone must not be remembered."""
        self._entries = Entries(self._db)
        self._is_undone = False

    def _list_runs(self, folders: tuple[RunFolder, ...]) -> dict[str, int]:
        """Number of each run, by name; those whose folders are gone, or hold something else now, are taken out."""
        known = {name: (number, kind) for number, name, kind in self._db.execute("SELECT id, name, kind FROM run")}
        there = {run.name: run.kind for run in folders}
        for name, (number, kind) in known.items():
            if there.get(name) != kind:
                self._forget(number)
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO run (name, code, kind, bytes) VALUES (?, ?, ?, ?)",
                [(run.name, run.id, run.kind, run.manifest_bytes) for run in folders],
            )
        return dict(self._db.execute("SELECT name, id FROM run"))

    def _forget(self, number: int) -> None:
        more = True
        while more and not self._stop.is_set():
            with transaction(self._db):
                more = self._entries.drop_run(number)
                if not more:
                    self._db.execute("DELETE FROM sample WHERE run = ?", (number,))
                    self._db.execute("DELETE FROM run WHERE id = ?", (number,))

    def _steps(self, run: RunFolder, number: int) -> Iterator[None]:
        if run.kind is Kind.SHARDS:
            yield from ShardFeed(self._db, self._entries, run=number, folder=run.folder).steps()
            return
        note = ""
        try:
            yield from ManifestFeed(self._db, self._entries, run=number, folder=run.folder).steps()
        except OSError as error:
            note = f"its manifest cannot be read: {error.strerror}"
        self._note(number, note)

    def _note(self, number: int, note: str) -> None:
        self._db.execute("UPDATE run SET note = ?1 WHERE id = ?2 AND note != ?1", (printable(note), number))
