"""Counts of clips: by outcome, by class, by message; all from the tallies, none by looking at clips."""

import sqlite3
from dataclasses import dataclass

from preprocess.outcomes import Outcome


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What the index knows of a run."""

    number: int
    code: str
    """Names it in addresses."""
    name: str
    kind: str
    read: int
    """Bytes of its manifest, or of its shards."""
    whole: int
    damaged: int
    """Lines of the manifest that are no entries."""
    note: str


@dataclass(frozen=True, kw_only=True)
class FailureCount:
    """Clips of one run that are not done for one cause."""

    run: str
    """Code of the run."""
    outcome: str
    cause: str
    clips: int


@dataclass(frozen=True, kw_only=True)
class MessageCount:
    """Clips of one run whose sources said the same."""

    id: int
    run: str
    """Code of the run."""
    outcome: str
    cause: str
    text: str
    """What differs is an asterisk."""
    clips: int
    example: str
    """Key of the first of them."""


@dataclass(frozen=True, kw_only=True)
class LabelCount:
    """Clips of one class."""

    label: str
    """Empty for clips without one."""
    done: int
    clips: int


def read_runs(db: sqlite3.Connection) -> list[RunRow]:
    """All runs, by name."""
    rows = db.execute("SELECT id, code, name, kind, offset, bytes, damaged, note FROM run ORDER BY name")
    names = ("number", "code", "name", "kind", "read", "whole", "damaged", "note")
    return [RunRow(**dict(zip(names, row, strict=True))) for row in rows]


def outcomes_of(db: sqlite3.Connection, run: int) -> dict[str, int]:
    """Clips of a run by outcome, only those that occur, `done` first."""
    rows = db.execute(
        "SELECT outcome, sum(clips) FROM kind JOIN tally ON tally.kind = kind.id WHERE run = ? GROUP BY outcome", (run,)
    )
    counts = dict(rows.fetchall())
    return {outcome.value: counts[outcome] for outcome in Outcome if counts.get(outcome)}


def failures(db: sqlite3.Connection, *, run: str | None = None) -> list[FailureCount]:
    """Clips that are not done, most frequent first."""
    rows = db.execute(
        "SELECT run.code, outcome, cause, sum(clips) AS n FROM kind JOIN tally ON tally.kind = kind.id "
        "JOIN run ON run.id = kind.run WHERE outcome != ?1 AND (?2 IS NULL OR run.code = ?2) "
        "GROUP BY run.code, outcome, cause HAVING n > 0 ORDER BY n DESC, outcome, cause, run.code",
        (Outcome.DONE.value, run),
    )
    return [FailureCount(run=code, outcome=outcome, cause=cause, clips=n) for code, outcome, cause, n in rows]


def messages(
    db: sqlite3.Connection,
    *,
    run: str | None = None,
    outcome: str | None = None,
    cause: str | None = None,
    most: int,
) -> list[MessageCount]:
    """What sources said, most frequent first."""
    rows = db.execute(
        "SELECT m.id, run.code, m.outcome, m.cause, m.text, m.clips, "
        "(SELECT key FROM entry WHERE message = m.id ORDER BY key LIMIT 1) "
        "FROM message m JOIN run ON run.id = m.run WHERE m.clips > 0 AND (?1 IS NULL OR run.code = ?1) "
        "AND (?2 IS NULL OR m.outcome = ?2) AND (?3 IS NULL OR m.cause = ?3) "
        "ORDER BY m.clips DESC, m.text LIMIT ?4",
        (run, outcome, cause, most),
    )
    names = ("id", "run", "outcome", "cause", "text", "clips", "example")
    return [MessageCount(**dict(zip(names, row, strict=True))) for row in rows]


def message_text(db: sqlite3.Connection, number: int | None) -> str | None:
    """The text of a message; None where there is no such one."""
    found = db.execute("SELECT text FROM message WHERE id = ?", (number,)).fetchone()
    return found[0] if found else None


def labels(db: sqlite3.Connection, *, run: str | None = None) -> list[LabelCount]:
    """Clips of every class, by name."""
    rows = db.execute(
        "SELECT label.name, sum(clips * (outcome = ?1)), sum(clips) AS n FROM tally JOIN kind ON kind.id = tally.kind "
        "JOIN label ON label.id = tally.label JOIN run ON run.id = kind.run "
        "WHERE ?2 IS NULL OR run.code = ?2 GROUP BY label.name HAVING n > 0 ORDER BY label.name",
        (Outcome.DONE.value, run),
    )
    return [LabelCount(label=label, done=done, clips=clips) for label, done, clips in rows]


def splits_of(db: sqlite3.Connection) -> list[str]:
    """All splits that occur, by name."""
    return [split for (split,) in db.execute("SELECT DISTINCT split FROM kind ORDER BY split")]


def label_names(db: sqlite3.Connection) -> list[str]:
    """All classes that occur, by name."""
    return [name for (name,) in db.execute("SELECT name FROM label WHERE id != 0 ORDER BY name")]
