"""Every run as it is now: what it publishes itself, and what the index knows of its manifest or shards."""

import sqlite3
from dataclasses import dataclass

from preprocess.errors import InvalidInput
from preprocess.metrics.sampling import free_bytes
from preprocess.serve.index.counts import RunRow, failures, outcomes_of, read_runs
from preprocess.serve.index.samples import Sample, read_samples
from preprocess.serve.run_folders import RunFolder
from preprocess.status.manifest_tail import ManifestCounts
from preprocess.status.run_view import RunView, look_at


@dataclass(frozen=True, kw_only=True)
class RunNow:
    """One run."""

    folder: RunFolder
    row: RunRow
    view: RunView | None
    """None where no run published anything and there is no manifest."""
    problem: str
    """Why there is no view."""
    outcomes: dict[str, int]
    """Clips by outcome, as far as they are in the index."""
    samples: list[Sample]
    free_bytes: int | None
    """Of the disk that the folder is on."""
    shards: int
    damaged_shards: list[tuple[str, str]]
    """Name and what is wrong, of some."""
    damaged_lines: list[tuple[int, str]]
    """Byte of the manifest and what is wrong, of some."""


def run_states(db: sqlite3.Connection, folders: tuple[RunFolder, ...]) -> list[RunNow]:
    """All runs that are in the index, by name."""
    by_code = {run.id: run for run in folders}
    return [_state(db, by_code[row.code], row) for row in read_runs(db) if row.code in by_code]


def _state(db: sqlite3.Connection, folder: RunFolder, row: RunRow) -> RunNow:
    outcomes = outcomes_of(db, row.number)
    missing = tuple((count.outcome, count.cause, count.clips) for count in failures(db, run=row.code))
    counts = ManifestCounts(outcomes=outcomes, missing=missing)  # damaged lines are named one by one below
    view, problem = None, ""
    try:
        view = look_at(folder.folder, count=lambda: counts)
    except InvalidInput as error:
        problem = str(error)
    ((shards,),) = db.execute("SELECT count(*) FROM shard WHERE run = ?", (row.number,))
    bad = db.execute(
        "SELECT name, problem FROM shard WHERE run = ? AND problem != '' ORDER BY name LIMIT 20", (row.number,)
    )
    torn = db.execute("SELECT at, reason FROM damage WHERE run = ? ORDER BY at LIMIT 20", (row.number,))
    return RunNow(
        folder=folder,
        row=row,
        view=view,
        problem=problem,
        outcomes=outcomes,
        samples=read_samples(db, row.number),
        free_bytes=free_bytes(folder.folder),
        shards=shards,
        damaged_shards=bad.fetchall(),
        damaged_lines=torn.fetchall(),
    )
