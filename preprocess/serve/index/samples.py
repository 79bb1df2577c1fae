"""How many clips had which outcome when: the one thing that the index knows and no manifest tells.

Manifests have no times, so there are samples of the time only in which a server looked on.
"""

import json
import sqlite3
from dataclasses import dataclass

MOST = 720
"""Samples of a run; with more, every other one goes, so that a week takes no more than an hour."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A run at one moment."""

    at: float
    """Epoch seconds."""
    outcomes: dict[str, int]
    """Clips by outcome."""


def read_samples(db: sqlite3.Connection, run: int) -> list[Sample]:
    """All samples of a run, by time."""
    rows = db.execute("SELECT at, outcomes FROM sample WHERE run = ? ORDER BY at", (run,))
    return [Sample(at=at, outcomes=json.loads(outcomes)) for at, outcomes in rows]


def take_sample(db: sqlite3.Connection, run: int, sample: Sample) -> None:
    """Keep a sample, if it differs from the last two: a run at rest is a line between two points."""
    text = json.dumps(sample.outcomes, sort_keys=True)
    last = db.execute("SELECT at, outcomes FROM sample WHERE run = ? ORDER BY at DESC LIMIT 2", (run,)).fetchall()
    if len(last) == 2 and last[0][1] == last[1][1] == text:
        db.execute("UPDATE sample SET at = ? WHERE run = ? AND at = ?", (sample.at, run, last[0][0]))
        return
    db.execute("INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", (run, sample.at, text))
    ((count,),) = db.execute("SELECT count(*) FROM sample WHERE run = ?", (run,))
    if count > MOST:
        db.execute(
            "DELETE FROM sample WHERE run = ?1 AND at IN (SELECT at FROM (SELECT at, row_number() OVER (ORDER BY at) n "
            "FROM sample WHERE run = ?1) WHERE n % 2 = 0 AND n < ?2)",
            (run, count),
        )
