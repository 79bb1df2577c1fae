"""Writing clips into the index: rows in batches, counts kept right, names found again."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from preprocess.console import printable

MOST_MESSAGES = 500
"""Kinds of messages that are told apart in a run; clips with further ones are counted as `OTHER_MESSAGES`."""
OTHER_MESSAGES = "(other messages)"
_MESSAGE_LENGTH = 300
_DROPPED_AT_ONCE = 20_000  # clips of one transaction
# what differs between two messages that mean the same: quoted values, addresses and paths, numbers but that of .mp4
_VALUES = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\w+://\S+|(?:/[\w.-]+){2,}|(?<!\.mp)[+-]?\d+(?:[.,:]\d+)*"
    r"|(?P<code>(?:HTTP(?: Error)?|returned) [45]\d\d\b)"  # tells causes apart
)
_TIMES = re.compile(r"_\d{6}_\d{6}\Z")


_Kind = tuple[int, str, str, str]


class NewEntry(NamedTuple):
    """A clip as its manifest or shard has it."""

    key: str
    kind: int
    label: int
    message: int | None
    shard: int | None
    at: int


class Entries:
    """The writer of the index; for one thread, within its transactions.

    Args:
        db: the index.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._labels: dict[str, int] = dict(db.execute("SELECT name, id FROM label"))
        self._kinds: dict[_Kind, int] = {
            (run, split, outcome, cause): number
            for number, run, split, outcome, cause in db.execute("SELECT id, run, split, outcome, cause FROM kind")
        }
        self._messages: dict[_Kind, int] = {
            (run, outcome, cause, text): number
            for number, run, outcome, cause, text in db.execute("SELECT id, run, outcome, cause, text FROM message")
        }
        ((self._last_id,),) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")

    def label(self, name: str | None) -> int:
        """The number of a class."""
        text = printable(name or "")
        found = self._labels.get(text)
        if found is None:
            found = self._labels[text] = self._insert("INSERT INTO label (name) VALUES (?)", (text,))
        return found

    def kind(self, run: int, *, split: str, outcome: str, cause: str) -> int:
        """The number of a kind of clips."""
        key = (run, split, outcome, cause)
        found = self._kinds.get(key)
        if found is None:
            statement = "INSERT INTO kind (run, split, outcome, cause) VALUES (?, ?, ?, ?)"
            found = self._kinds[key] = self._insert(statement, key)
        return found

    def message(self, run: int, *, outcome: str, cause: str, reason: str, names: Iterable[str]) -> int | None:
        """The number of a kind of messages; None where there is no message.

        Args:
            run: that the clip is of.
            outcome: of the clip.
            cause: of the clip.
            reason: the message.
            names: of the clip, which say nothing about the kind.
        """
        if not reason:
            return None
        key = (run, outcome, cause, pattern_of(reason, names=names))
        found = self._messages.get(key)
        if found is None:
            if sum(known[0] == run for known in self._messages) >= MOST_MESSAGES:
                key = (run, outcome, cause, OTHER_MESSAGES)
                if key in self._messages:
                    return self._messages[key]
            found = self._insert("INSERT INTO message (run, outcome, cause, text) VALUES (?, ?, ?, ?)", key)
            self._messages[key] = found
        return found

    def put(self, run: int, rows: Sequence[NewEntry]) -> None:
        """Add clips of a run, in the order of their manifest; one that is there already is replaced, and remembered."""
        latest: dict[str, NewEntry] = {}
        earlier: list[tuple[str, int]] = []
        for row in rows:
            before = latest.get(row.key)
            if before is not None:
                earlier.append((row.key, before.at))
            latest[row.key] = row
        tally, messages, ids = Counter[tuple[int, int]](), Counter[int | None](), dict[str, int]()
        for id_, key, kind, label, message, at in self._db.execute(
            "SELECT e.id, e.key, e.kind, e.label, e.message, e.at FROM json_each(?) j "
            "CROSS JOIN entry e ON e.run = ? AND e.key = j.value",
            (json.dumps(list(latest)), run),
        ):
            ids[key] = id_
            earlier.append((key, at))
            tally[kind, label] -= 1
            messages[message] -= 1
        changed = [(*latest[key][1:], id_) for key, id_ in ids.items()]
        self._db.executemany("UPDATE entry SET kind=?, label=?, message=?, shard=?, at=? WHERE id=?", changed)
        self._insert_new(run, [row for key, row in latest.items() if key not in ids], ids)
        self._db.executemany("INSERT OR IGNORE INTO earlier VALUES (?, ?)", [(ids[key], at) for key, at in earlier])
        for row in latest.values():
            tally[row.kind, row.label] += 1
            messages[row.message] += 1
        self._count(tally, messages)

    def drop_shard(self, shard: int) -> None:
        """Take the clips of a shard out."""
        while self._drop("shard", shard):
            pass

    def drop_run(self, run: int) -> bool:
        """Take some clips of a run out, and with the last of them all that is known of it; whether there are more."""
        if self._drop("run", run):
            return True
        self._db.execute("DELETE FROM tally WHERE kind IN (SELECT id FROM kind WHERE run = ?)", (run,))
        for table in ("kind", "message", "damage", "shard"):
            self._db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608 a name of ours
        self._kinds = {key: id_ for key, id_ in self._kinds.items() if key[0] != run}
        self._messages = {key: id_ for key, id_ in self._messages.items() if key[0] != run}
        return False

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        return int(self._db.execute(statement, values).lastrowid or 0)

    def _insert_new(self, run: int, rows: list[NewEntry], ids: dict[str, int]) -> None:
        rows.sort()  # by key: neighbours in the indices lie in the same pages
        for number, row in enumerate(rows, self._last_id + 1):
            ids[row.key] = number
        self._last_id += len(rows)
        self._db.executemany(
            "INSERT INTO entry (id, run, key, kind, label, message, shard, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(ids[row.key], run, *row) for row in rows],
        )
        self._db.executemany(
            "INSERT INTO name (rowid, text) VALUES (?, ?)", [(ids[row.key], _TIMES.sub("", row.key)) for row in rows]
        )

    def _count(self, tally: Counter[tuple[int, int]], messages: Counter[int | None]) -> None:
        self._db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET clips = clips + excluded.clips",
            [(kind, label, clips) for (kind, label), clips in tally.items() if clips],
        )
        self._db.executemany(
            "UPDATE message SET clips = clips + ? WHERE id = ?",
            [(clips, message) for message, clips in messages.items() if clips and message is not None],
        )

    def _drop(self, column: str, value: int) -> int:
        """Take out some of the clips; how many."""
        found = self._db.execute(
            f"SELECT id, kind, label, message FROM entry WHERE {column} = ? LIMIT ?",  # noqa: S608 a name of ours
            (value, _DROPPED_AT_ONCE),
        ).fetchall()
        ids = [(id_,) for id_, *_ in found]
        # what stays in `name` leads to no entry: numbers are never given twice
        self._db.executemany("DELETE FROM earlier WHERE entry = ?", ids)
        self._db.executemany("DELETE FROM entry WHERE id = ?", ids)
        tally, messages = Counter[tuple[int, int]](), Counter[int | None]()
        for _, kind, label, message in found:
            tally[kind, label] -= 1
            messages[message] -= 1
        self._count(tally, messages)
        return len(found)


def pattern_of(reason: str, *, names: Iterable[str]) -> str:
    """A message without what differs from clip to clip.

    Example:
        >>> pattern_of("[youtube] abc_defGHIJ: HTTP Error 404 after 2.5 s", names=["abc_defGHIJ"])
        '[youtube] *: HTTP Error 404 after * s'
        >>> pattern_of("a.mp4: damaged after 430 frames", names=["a"])
        '*.mp4: damaged after * frames'
    """
    text = printable(" ".join(reason.split()))
    for name in names:
        if name:
            text = _without(name, text)
    return _VALUES.sub(lambda match: match["code"] or "*", text)[:_MESSAGE_LENGTH]


def _without(name: str, text: str) -> str:
    """A text with an asterisk for the name, but inside other words: a clip may be called `a`."""
    done, *parts = text.split(name)
    for part in parts:
        is_inside = done[-1:].isalnum() or part[:1].isalnum()
        done += (name if is_inside else "*") + part
    return done
