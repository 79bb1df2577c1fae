"""From a manifest into the index: only what was added since, or all of it when it is another file."""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from preprocess.jsonl import parse_line
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.regular_file import open_regular
from preprocess.serve.index.entries import Entries, NewEntry
from preprocess.serve.index.schema import LARGEST, transaction

LINES_AT_ONCE = 20_000
"""In one transaction: some tenths of a second, after which the server may stop or pages see more."""
LONGEST_LINE = 1 << 20
"""Bytes; what is longer is no entry of a manifest, and not read into memory."""
MOST_DAMAGE = 100
"""Damaged lines of a run that are named; all are counted."""
_HEAD = 4096
_LONGEST_KEY = 256
_OUTCOMES = {outcome.value for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class _Place:
    inode: int
    offset: int
    head_bytes: int
    head_crc32: int


class ManifestFeed:
    """Reads the manifest of one run on.

    Args:
        db: the index.
        entries: its writer.
        run: number of the run.
        folder: of the clips.
    """

    def __init__(self, db: sqlite3.Connection, entries: Entries, *, run: int, folder: Path) -> None:
        self._db = db
        self._entries = entries
        self._run = run
        self._folder = folder

    def steps(self) -> Iterator[None]:
        """Take what was added, some lines and a transaction at a time, with a pause after each.

        Raises:
            OSError: the manifest is there and cannot be read.
        """
        while self._read_on():
            yield

    def _read_on(self) -> bool:
        """Take some more lines; whether there is more to do."""
        place = self._place()
        try:
            with open_manifest(self._folder) as file:
                found = os.fstat(file.fileno())
                if not _is_same(file, place, found):
                    return self._start_over(found)
                return self._take(file, place, found)
        except FileNotFoundError:
            return place.inode != 0 and self._start_over(None)

    def _place(self) -> _Place:
        ((inode, offset, head_bytes, head_crc32),) = self._db.execute(
            "SELECT inode, offset, head_bytes, head_crc32 FROM run WHERE id = ?", (self._run,)
        )
        return _Place(inode=inode, offset=offset, head_bytes=head_bytes, head_crc32=head_crc32)

    def _start_over(self, found: os.stat_result | None) -> bool:
        """Forget all clips, some at once."""
        with transaction(self._db):
            more = self._entries.drop_run(self._run)
            if not more:
                inode, size = (found.st_ino & LARGEST, found.st_size) if found else (0, 0)
                self._db.execute(
                    "UPDATE run SET inode=?, offset=0, head_bytes=0, head_crc32=0, bytes=?, damaged=0 WHERE id=?",
                    (inode, size, self._run),
                )
        return more or found is not None

    def _take(self, file: BinaryIO, place: _Place, found: os.stat_result) -> bool:
        if found.st_size == place.offset:
            return False
        file.seek(place.offset)
        with transaction(self._db):
            lines, offset = self._take_lines(file, place.offset)
            head = place.head_bytes, place.head_crc32
            if place.head_bytes < _HEAD:
                file.seek(0)
                content = file.read(min(_HEAD, offset))
                head = len(content), zlib.crc32(content)
            more = lines == LINES_AT_ONCE
            # a last line without its end is not there yet, and never will be after a kill
            whole = found.st_size if more else offset
            self._db.execute(
                "UPDATE run SET offset=?, head_bytes=?, head_crc32=?, bytes=? WHERE id=?",
                (offset, *head, whole, self._run),
            )
        return more

    def _take_lines(self, file: BinaryIO, offset: int) -> tuple[int, int]:
        """How many lines were taken, and the byte after them."""
        rows: list[NewEntry] = []
        damaged: list[tuple[int, str]] = []
        lines = 0
        for at, line in _whole_lines(file, LINES_AT_ONCE):
            lines += 1
            offset = at + len(line)
            if not line.endswith(b"\n"):
                damaged.append((at, f"longer than {LONGEST_LINE} bytes"))
                offset = _end_of_line(file)
                continue
            try:
                rows.append(self._row(line, at))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                damaged.append((at, f"{error!r:.200}"))
        self._entries.put(self._run, rows)
        self._note(damaged)
        return lines, offset

    def _row(self, line: bytes, at: int) -> NewEntry:
        """ValueError, TypeError or KeyError where the line is no entry."""
        fields = parse_line(line)
        key, label, reason = fields["key"], fields["label"], fields.get("reason", "")
        split, outcome, cause = fields["split"], fields["outcome"], fields.get("cause", "")
        _check(fields, (key, split, outcome, cause, label or ""), reason)
        kind = self._entries.kind(self._run, split=split, outcome=outcome, cause=cause)
        names = (key, str(fields.get("youtube_id", "")))
        message = None
        if outcome != Outcome.DONE:
            message = self._entries.message(self._run, outcome=outcome, cause=cause, reason=reason, names=names)
        return NewEntry(key, kind, self._entries.label(label), message, None, at)

    def _note(self, damaged: list[tuple[int, str]]) -> None:
        if not damaged:
            return
        ((known,),) = self._db.execute("SELECT count(*) FROM damage WHERE run = ?", (self._run,))
        some = damaged[: max(0, MOST_DAMAGE - known)]
        self._db.executemany("INSERT INTO damage VALUES (?, ?, ?)", [(self._run, at, why) for at, why in some])
        self._db.execute("UPDATE run SET damaged = damaged + ? WHERE id = ?", (len(damaged), self._run))


def open_manifest(folder: Path) -> BinaryIO:
    """The manifest of a folder of clips, for reading; a link is not followed, since it may lead out of ROOT.

    Raises:
        OSError: it cannot be read.
    """
    return open_regular(folder / MANIFEST_NAME)


def _is_same(file: BinaryIO, place: _Place, found: os.stat_result) -> bool:
    """Whether the file is the one that was read up to `place`; a copy put in its place may have its number."""
    if found.st_ino & LARGEST != place.inode or found.st_size < place.offset:
        return False
    return zlib.crc32(file.read(place.head_bytes)) == place.head_crc32


def _check(fields: dict[str, Any], texts: tuple[object, ...], reason: object) -> None:
    """ValueError or TypeError for what `preprocess download` would not have written."""
    key, _, outcome, *_ = texts
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("a name in it is no printable text")
    if not (isinstance(reason, str) and (fields["label"] is None or isinstance(fields["label"], str))):
        raise TypeError("its reason or label is no text")
    if outcome not in _OUTCOMES:
        raise ValueError(f"its outcome is {outcome!r:.50}")
    if not 0 < len(str(key)) <= _LONGEST_KEY:
        raise ValueError(f"its key has {len(str(key))} characters")


def _whole_lines(file: BinaryIO, most: int) -> Iterator[tuple[int, bytes]]:
    """Lines with the bytes that they begin at; one that is not finished yet is left for another time.

    Of one that is longer than `LONGEST_LINE` only the beginning, without an end of line; who asks skips the rest.
    """
    at = file.tell()
    for _ in range(most):
        line = file.readline(LONGEST_LINE)
        if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            return
        yield at, line
        at = file.tell()


def _end_of_line(file: BinaryIO) -> int:
    """Skip the rest of a line; the byte after it."""
    while (piece := file.readline(LONGEST_LINE)) and not piece.endswith(b"\n"):
        pass
    return file.tell()
