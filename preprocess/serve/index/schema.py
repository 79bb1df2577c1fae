"""The file of the index: made when it is not there, made anew when it is damaged or another version's."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import exclusive, make_folder
from preprocess.serve.config import STATE_FOLDER

VERSION = 1
LARGEST = (1 << 63) - 1
"""Integer that SQLite takes; times and numbers of files may have a bit more, which tells no two of them apart."""
_APPLICATION = 0x6B666C77  # kflw
_MAGIC = b"SQLite format 3\x00"
_APPLICATION_AT = slice(68, 72)  # of the header, https://www.sqlite.org/fileformat.html

_SCHEMA = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    code TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    inode INTEGER NOT NULL DEFAULT 0,
    offset INTEGER NOT NULL DEFAULT 0,
    head_bytes INTEGER NOT NULL DEFAULT 0,
    head_crc32 INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    damaged INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT ''
);
CREATE TABLE damage (run INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE shard (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    clips INTEGER NOT NULL,
    problem TEXT NOT NULL,
    UNIQUE (run, name)
);
CREATE TABLE label (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
INSERT INTO label VALUES (0, '');
CREATE TABLE kind (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    split TEXT NOT NULL,
    outcome TEXT NOT NULL,
    cause TEXT NOT NULL,
    UNIQUE (run, split, outcome, cause)
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    cause TEXT NOT NULL,
    text TEXT NOT NULL,
    clips INTEGER NOT NULL DEFAULT 0,
    UNIQUE (run, outcome, cause, text)
);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind INTEGER NOT NULL,
    label INTEGER NOT NULL,
    message INTEGER,
    shard INTEGER,
    at INTEGER NOT NULL
);
CREATE UNIQUE INDEX entry_by_run ON entry (run, key);
CREATE INDEX entry_by_kind ON entry (kind, key);
CREATE INDEX entry_by_label ON entry (label, kind, key);
CREATE INDEX entry_by_message ON entry (message, key) WHERE message IS NOT NULL;
CREATE INDEX entry_by_shard ON entry (shard) WHERE shard IS NOT NULL;
CREATE TABLE earlier (entry INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (entry, at)) WITHOUT ROWID;
CREATE TABLE tally (
    kind INTEGER NOT NULL,
    label INTEGER NOT NULL,
    clips INTEGER NOT NULL,
    PRIMARY KEY (kind, label)
) WITHOUT ROWID;
CREATE TABLE sample (
    run INTEGER NOT NULL,
    at REAL NOT NULL,
    outcomes TEXT NOT NULL,
    PRIMARY KEY (run, at)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE name USING fts5 (text, content='', tokenize='trigram');
"""
# entry.at is a byte of the manifest, or a row of the shard, -1 for a clip that the shard was to hold and does not

logger = logging.getLogger(__name__)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the index for this process, by a lock beside it; its folder is made unless it is there.

    Raises:
        EnvironmentProblem: another process holds it, or the folder cannot be made; names `--index`.
    """
    try:
        make_folder(path.parent)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(f"{error}, for the index with --index") from error
    # a folder that somebody names for it may be that of a run, which holds it
    with exclusive(path, lock=path.with_name(f"{path.name}.lock")):
        yield


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The index, empty when it was not there, was damaged, or is that of another version.

    Raises:
        InvalidInput: the file is something else; names `--index`.
        EnvironmentProblem: it cannot be written; names `--index`.
    """
    try:
        if not _is_ours(path):
            raise InvalidInput(f"{path} is no index of `preprocess serve`, so it stays; name another file with --index")
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise  # no space, no right to write, another process writes: a new file would help as little
        except sqlite3.DatabaseError as error:
            logger.warning("the index %s is made anew: %s", path, error)
            remove(path)
            return _open(path)
    except (sqlite3.Error, OSError) as error:
        raise EnvironmentProblem(
            f"cannot write the index {path}: {error}; name a file that can be written with --index"
        ) from error


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The index, for one who only looks; any thread may, one after the other."""
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = 1")
        # opens the write-ahead log too, which it finds by name: later on that may be the log of another index
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def remove(path: Path) -> None:
    """Delete the index with the files that SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with suppress(FileNotFoundError):
            path.with_name(name).unlink()


def _is_ours(path: Path) -> bool:
    """Whether the file may be written over: it is an index, also a damaged one in our own folder, or nothing."""
    if path.absolute().parent.name == STATE_FOLDER:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_APPLICATION_AT.stop)
    except FileNotFoundError:
        return True
    return not head or (head.startswith(_MAGIC) and head[_APPLICATION_AT] == _APPLICATION.to_bytes(4, "big"))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
        if tables == 0:
            # before the write-ahead log: the file must say whose it is, also when the rest is lost in a crash
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -32768")  # KiB: where clips come in no order, every page is touched
        # pages, 32 MiB: the same ones change again and again
        connection.execute("PRAGMA wal_autocheckpoint = 8192")
        ((application,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        if tables == 0:
            connection.executescript(f"BEGIN; {_SCHEMA}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        elif (application, version) != (_APPLICATION, VERSION):
            raise sqlite3.DatabaseError(f"it has version {version}, this server knows {VERSION}")
        ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
