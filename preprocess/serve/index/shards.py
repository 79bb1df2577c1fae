"""From a folder of shards into the index: the heads of those that are new or changed."""

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.console import printable
from preprocess.errors import BadShard, Cause
from preprocess.outcomes import Outcome
from preprocess.regular_file import read_regular
from preprocess.serve.index.entries import Entries, NewEntry
from preprocess.serve.index.schema import LARGEST, transaction
from preprocess.shards.head import ShardHead, read_head
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo, is_shard_name
from preprocess.trials import KILLED_REASON

MISSING_ROW = -1
"""Row of a clip that a shard was to hold and does not."""

MOST_INDEX_BYTES = 64 << 20
"""Of an `index.json`: some hundred thousand shards."""


@dataclass(frozen=True, kw_only=True)
class _File:
    """A shard as the folder has it."""

    name: str
    bytes: int
    mtime_ns: int
    problem: str
    """Why it is not opened; empty if it can be."""
    indexed: ShardInfo | None
    """What `index.json` says; None where that is not written yet."""

    @property
    def version(self) -> tuple[int, int]:
        return self.bytes, self.mtime_ns


class ShardFeed:
    """Reads the shards of one run.

    Args:
        db: the index.
        entries: its writer.
        run: number of the run.
        folder: of the shards.
    """

    def __init__(self, db: sqlite3.Connection, entries: Entries, *, run: int, folder: Path) -> None:
        self._db = db
        self._entries = entries
        self._run = run
        self._folder = folder

    def steps(self) -> Iterator[None]:
        """Take what changed, a shard and a transaction at a time, with a pause after each."""
        files, note = self._files()
        known = {
            name: (number, (size, mtime_ns), problem)
            for number, name, size, mtime_ns, problem in self._db.execute(
                "SELECT id, name, bytes, mtime_ns, problem FROM shard WHERE run = ?", (self._run,)
            )
        }
        fresh = {file.name for file in files if file.name in known and known[file.name][1] == file.version}
        if known.keys() - fresh:  # clips that these held may be shown of another shard that has them too
            fresh -= {name for name, (_, _, problem) in known.items() if problem}
        stale = [file for file in files if file.name not in fresh]
        whole = sum(file.bytes for file in files)
        read = whole - sum(file.bytes for file in stale)
        with transaction(self._db):
            for name in known.keys() - fresh:
                self._forget(known[name][0])
            self._progress(read, whole, note)
        for file in stale:
            yield
            read += file.bytes
            with transaction(self._db):
                self._take(file)
                self._progress(read, whole, note)

    def _progress(self, read: int, whole: int, note: str) -> None:
        values = (whole, read, printable(note), self._run)
        self._db.execute("UPDATE run SET bytes=?, offset=?, note=? WHERE id=?", values)

    def _files(self) -> tuple[list[_File], str]:
        """The shards that readers would open, or all that there are while the index is not written; and what to say."""
        path = self._folder / INDEX_NAME
        try:
            index = Index.parse(read_regular(path, most=MOST_INDEX_BYTES), source=str(path))
        except FileNotFoundError:
            found = sorted(path for path in self._folder.glob("*.h5") if is_shard_name(path.name))
            return [_look(path) for path in found], f"{INDEX_NAME} is not written yet: the run has not finished"
        except OSError as error:
            return [], f"{INDEX_NAME} cannot be read: {error.strerror}"
        except BadShard as error:
            return [], str(error)
        return [_look(self._folder / info.name, indexed=info) for info in index.shards], ""

    def _take(self, file: _File) -> None:
        try:
            head = self._head(file)
        except BadShard as error:
            self._insert(file, clips=0, problem=str(error))
            return
        shard = self._insert(file, clips=len(head.clips), problem="")
        rows = list(self._rows(head, shard, split=file.name.split("-", 1)[0]))
        held = self._held(row.key for row in rows)
        self._entries.put(self._run, [row for row in rows if row.key not in held])
        if held:
            problem = f"{len(held)} of its clips are in another shard too, such as {min(held)}"
            self._db.execute("UPDATE shard SET problem = ? WHERE id = ?", (problem, shard))

    def _head(self, file: _File) -> ShardHead:
        if file.problem:
            raise BadShard(f"{file.name} {file.problem}")
        info = file.indexed
        if info is not None and file.bytes != info.bytes:
            raise BadShard(f"{file.name} has {file.bytes} bytes, {INDEX_NAME} says {info.bytes}")
        head = read_head(self._folder / file.name, file_bytes=file.bytes, source=file.name)
        if info is not None and len(head.clips) != info.clips:
            raise BadShard(f"{file.name} has {len(head.clips)} clips, {INDEX_NAME} says {info.clips}")
        return head

    def _rows(self, head: ShardHead, shard: int, *, split: str) -> Iterator[NewEntry]:
        labels = [self._entries.label(name) for name in head.attributes.labels] + [self._entries.label(None)]
        done = self._entries.kind(self._run, split=split, outcome=Outcome.DONE, cause="")
        for row, (key, label) in enumerate(zip(head.clips.key.tolist(), head.clips.label.tolist(), strict=True)):
            # -1, no label, is the last one
            yield NewEntry(name_of(key), done, labels[label], None, shard, row)
        for key, reason in head.attributes.failed.items():
            is_killer = reason == KILLED_REASON
            outcome = Outcome.QUARANTINED if is_killer else Outcome.BAD_MEDIA
            cause = Cause.WORKER_DIED if is_killer else Cause.DAMAGED
            kind = self._entries.kind(self._run, split=split, outcome=outcome, cause=cause)
            message = self._entries.message(self._run, outcome=outcome, cause=cause, reason=reason, names=(key,))
            yield NewEntry(printable(key), kind, self._entries.label(None), message, shard, MISSING_ROW)

    def _held(self, keys: Iterator[str]) -> set[str]:
        found = (self._db.execute("SELECT key FROM entry WHERE run = ? AND key = ?", (self._run, key)) for key in keys)
        return {row[0] for rows in found for row in rows}

    def _insert(self, file: _File, *, clips: int, problem: str) -> int:
        statement = "INSERT INTO shard (run, name, bytes, mtime_ns, clips, problem) VALUES (?, ?, ?, ?, ?, ?)"
        values = (self._run, file.name, *file.version, clips, printable(problem))
        return int(self._db.execute(statement, values).lastrowid or 0)

    def _forget(self, shard: int) -> None:
        self._entries.drop_shard(shard)
        self._db.execute("DELETE FROM shard WHERE id = ?", (shard,))


def name_of(key: bytes) -> str:
    """A key of a shard's table as the index and pages have it."""
    return printable(key.decode(errors="backslashreplace"))


def _look(path: Path, *, indexed: ShardInfo | None = None) -> _File:
    problem, size, mtime_ns = "", 0, 0
    try:
        found = path.lstat()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    else:
        size, mtime_ns = found.st_size, found.st_mtime_ns & LARGEST
        problem = "" if stat.S_ISREG(found.st_mode) else "is a link or no file, which this server does not follow"
    return _File(name=path.name, bytes=size, mtime_ns=mtime_ns, problem=problem, indexed=indexed)
