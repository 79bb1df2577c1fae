"""Pages of clips: filtered, searched, sorted by key, each page from where the last one ended."""

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

MOST_LABELS = 20
"""Classes that a search looks through; when more fit, it names them and looks at keys only."""
MOST_HITS = 2000
"""Clips whose id contains the text that a search takes; when there are more, only those that begin with it."""
_LAST = "\U0010ffff"

_Row = tuple[str, int]
"""Key, and number of an entry."""


@dataclass(frozen=True, kw_only=True)
class ClipQuery:
    """What clips a page asks for; what is None or empty is not asked for."""

    run: str | None = None
    """Code of a run."""
    split: str | None = None
    outcome: str | None = None
    cause: str | None = None
    label: str | None = None
    """Exactly as lists spell it; empty asks for clips without one."""
    message: int | None = None
    """Number of a message of `counts.messages`."""
    text: str = ""
    """Beginning of a key, part of an id, or part of a class."""
    after: str = ""
    """Key that the page begins behind."""
    most: int = 50
    """Clips of a page."""


class Standing(NamedTuple):
    """How a clip stands in one run."""

    run: str
    """Code of the run."""
    run_name: str
    run_kind: str
    label: str
    split: str
    outcome: str
    cause: str
    shard: int | None
    """Number of the shard that holds it, or was to hold it."""
    at: int
    """Byte of the manifest, or row of the shard."""


@dataclass(frozen=True, kw_only=True)
class FoundClip:
    """One clip of a page."""

    key: str
    standings: tuple[Standing, ...]
    """Of the runs that the query asks for, by name of the run."""


@dataclass(frozen=True, kw_only=True)
class ClipPage:
    """Some clips, and how to get more."""

    clips: tuple[FoundClip, ...]
    next: str | None
    """Key to go on after; None at the end."""
    total: int | None
    """Entries of all pages together, a clip once for each of its runs; None where a search does not count."""
    labels: tuple[str, ...]
    """Classes whose names fit the search."""
    notes: tuple[str, ...]
    """What the search left out."""


def find_clips(db: sqlite3.Connection, query: ClipQuery) -> ClipPage:
    """One page."""
    kinds = _kinds(db, query)
    label = None if query.label is None else _label(db, query.label)
    if not kinds or (query.label is not None and label is None):
        return ClipPage(clips=(), next=None, total=0, labels=(), notes=())
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if query.message is not None:
        sources = [_of_message(db, query, kinds, label)]
        total = None
    elif query.text:
        labels, notes, sources = _search(db, query, kinds, label)
        total = None
    else:
        chosen = None if label is None else [label]
        sources = _sources(db, kinds, chosen, after=query.after, prefix="", most=query.most)
        total = _total(db, kinds, label)
    clips, following = _page(db, heapq.merge(*sources), most=query.most)
    return ClipPage(clips=clips, next=following, total=total, labels=labels, notes=notes)


def find_clip(db: sqlite3.Connection, key: str) -> FoundClip | None:
    """All that the runs say of one clip; None if no run knows it."""
    # in this order, or SQLite may go through all entries: they are sorted by key within a run
    rows = db.execute("SELECT key, entry.id FROM run CROSS JOIN entry ON run = run.id AND key = ?", (key,))
    clips, _ = _page(db, rows, most=1)
    return clips[0] if clips else None


def earlier_places(db: sqlite3.Connection, *, run: str, key: str) -> list[int]:
    """Bytes of the manifest where earlier lines of a clip begin, oldest first."""
    rows = db.execute(
        "SELECT earlier.at FROM earlier JOIN entry ON entry.id = earlier.entry JOIN run ON run.id = entry.run "
        "WHERE run.code = ? AND entry.key = ? ORDER BY earlier.at",
        (run, key),
    )
    return [at for (at,) in rows]


def held_by_shards(db: sqlite3.Connection, *, run: str, keys: Iterable[str]) -> list[str]:
    """Those of the keys whose clips the shards of a run hold."""
    statement = "SELECT 1 FROM run JOIN entry ON entry.run = run.id WHERE run.code = ? AND entry.key = ? AND at >= 0"
    return [key for key in keys if db.execute(statement, (run, key)).fetchone()]


def _kinds(db: sqlite3.Connection, query: ClipQuery) -> list[int]:
    rows = db.execute(
        "SELECT kind.id FROM kind JOIN run ON run.id = kind.run WHERE (?1 IS NULL OR run.code = ?1) "
        "AND (?2 IS NULL OR split = ?2) AND (?3 IS NULL OR outcome = ?3) AND (?4 IS NULL OR cause = ?4)",
        (query.run, query.split, query.outcome, query.cause),
    )
    return [kind for (kind,) in rows]


def _label(db: sqlite3.Connection, name: str) -> int | None:
    found = db.execute("SELECT id FROM label WHERE name = ?", (name,)).fetchone()
    return found[0] if found else None


def _total(db: sqlite3.Connection, kinds: Sequence[int], label: int | None) -> int:
    ((total,),) = db.execute(
        "SELECT coalesce(sum(clips), 0) FROM tally "
        "WHERE kind IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR label = ?2)",
        (json.dumps(kinds), label),
    )
    return int(total)


def _sources(
    db: sqlite3.Connection, kinds: Sequence[int], labels: Sequence[int] | None, *, after: str, prefix: str, most: int
) -> list[Iterator[_Row]]:
    """The first keys that begin with `prefix`, of each kind, and each class if some are given; each source sorted."""
    if labels is None:
        statement, values = "SELECT key, id FROM entry WHERE kind = ?", [(kind,) for kind in kinds]
    else:
        statement = "SELECT key, id FROM entry WHERE kind = ? AND label = ?"
        values = db.execute(
            "SELECT kind, label FROM tally WHERE clips > 0 AND kind IN (SELECT value FROM json_each(?)) "
            "AND label IN (SELECT value FROM json_each(?))",
            (json.dumps(kinds), json.dumps(labels)),
        ).fetchall()
    # one lower bound: of two, SQLite seeks by whichever it likes
    statement += f" AND key {'>=' if prefix > after else '>'} ? AND key < ? ORDER BY key LIMIT ?"
    bounds = (max(prefix, after), prefix + _LAST, most + 1)
    return [iter(db.execute(statement, (*some, *bounds)).fetchall()) for some in values]


def _of_message(db: sqlite3.Connection, query: ClipQuery, kinds: Sequence[int], label: int | None) -> Iterator[_Row]:
    fitting = [number for number, _ in _fitting_labels(db, query.text)]
    rows = db.execute(
        "SELECT key, id FROM entry WHERE message = ?1 AND key > ?2 AND kind IN (SELECT value FROM json_each(?3)) "
        "AND (?4 IS NULL OR label = ?4) "
        "AND (label IN (SELECT value FROM json_each(?5)) OR instr(lower(key), lower(?6))) ORDER BY key LIMIT ?7",
        (query.message, query.after, json.dumps(kinds), label, json.dumps(fitting), query.text, query.most + 1),
    )
    return iter(rows.fetchall())


def _search(
    db: sqlite3.Connection, query: ClipQuery, kinds: Sequence[int], label: int | None
) -> tuple[tuple[str, ...], tuple[str, ...], list[Iterator[_Row]]]:
    """Classes that fit, what was left out, and the sources of the clips that fit."""
    notes = []
    chosen = None if label is None else [label]
    sources = _sources(db, kinds, chosen, after=query.after, prefix=query.text, most=query.most)
    fitting = _fitting_labels(db, query.text)
    numbers = [number for number, _ in fitting if label in {None, number}]
    if len(numbers) > MOST_LABELS:
        notes.append(f"{len(numbers):,} classes fit {query.text!r}; choose one to see its clips")
    else:
        sources += _sources(db, kinds, numbers, after=query.after, prefix="", most=query.most)
    # by trigrams: of fewer than three characters nothing but the beginnings of keys is found
    hits = db.execute(
        # names of clips that were taken out stay in `name`, and must not use up the limit
        "SELECT name.rowid FROM name CROSS JOIN entry ON entry.id = name.rowid WHERE name MATCH ? LIMIT ?",
        (_phrase(query.text), MOST_HITS + 1),
    )
    numbers = [number for (number,) in hits]
    if len(numbers) > MOST_HITS:
        notes.append(f"more than {MOST_HITS:,} ids contain {query.text!r}: shown are those that begin with it")
    else:
        sources.append(iter(_of_numbers(db, query, numbers, set(kinds), label)))
    return tuple(name for _, name in fitting[: 5 * MOST_LABELS]), tuple(notes), sources


def _of_numbers(
    db: sqlite3.Connection, query: ClipQuery, numbers: Sequence[int], kinds: set[int], label: int | None
) -> list[_Row]:
    rows = db.execute(
        "SELECT entry.key, entry.id, kind, label FROM json_each(?) wanted JOIN entry ON entry.id = wanted.value",
        (json.dumps(numbers),),
    )
    return sorted(
        (key, number)
        for key, number, kind, of_label in rows
        if key > query.after and kind in kinds and label in {None, of_label}
    )


def _fitting_labels(db: sqlite3.Connection, text: str) -> list[tuple[int, str]]:
    wanted = text.casefold()
    rows = db.execute("SELECT id, name FROM label ORDER BY name")
    return [(number, name) for number, name in rows if wanted in name.casefold()]


def _page(db: sqlite3.Connection, rows: Iterator[_Row], *, most: int) -> tuple[tuple[FoundClip, ...], str | None]:
    """The first clips of sorted rows, each with all of its rows, and where to go on."""
    clips: list[FoundClip] = []
    for key, of_key in groupby(rows, key=itemgetter(0)):
        if len(clips) == most:
            return tuple(clips), clips[-1].key
        numbers = sorted({number for _, number in of_key})  # several sources may have found it
        clips.append(FoundClip(key=key, standings=_standings(db, numbers)))
    return tuple(clips), None


def _standings(db: sqlite3.Connection, numbers: Sequence[int]) -> tuple[Standing, ...]:
    rows: Iterable[Any] = db.execute(
        "SELECT run.code, run.name, run.kind, label.name, kind.split, kind.outcome, kind.cause, entry.shard, entry.at "
        "FROM json_each(?) wanted JOIN entry ON entry.id = wanted.value JOIN kind ON kind.id = entry.kind "
        "JOIN run ON run.id = entry.run JOIN label ON label.id = entry.label ORDER BY run.name",
        (json.dumps(numbers),),
    )
    return tuple(Standing(*row) for row in rows)


def _phrase(text: str) -> str:
    """As one phrase of the full-text search, whatever it holds."""
    return '"{}"'.format(text.replace('"', '""'))
