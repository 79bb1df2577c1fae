"""What became of every clip: `manifest.jsonl` (the truth, append-only) and `missing.csv` (for reading)."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from preprocess.annotations import Clip, RefusedRow
from preprocess.collector import collector_paused
from preprocess.errors import (
    BadMedia,
    Cause,
    ClipError,
    TemporarilyUnavailable,
    Unavailable,
    WorkerDied,
)
from preprocess.jsonl import append_line, read_lines
from preprocess.paths import publish

MANIFEST_NAME = "manifest.jsonl"
MISSING_NAME = "missing.csv"
GONE = f"its file is gone, or has another size than {MANIFEST_NAME} says"
"""Reason of a clip that was done, and is to be had again."""
NOT_TRIED = "not_tried"
"""Status of a clip without an outcome yet."""
REFUSED = "refused"
"""Status of a row of a list that is no clip."""

_MISSING_COLUMNS = (
    "list",
    "line",
    "youtube_id",
    "time_start",
    "time_end",
    "label",
    "split",
    "status",
    "cause",
    "reason",
)
_ROWS_AT_ONCE = 10_000  # made into bytes: at a first run's start all clips are missing, and may be millions


class Outcome(StrEnum):
    """How a clip ended; a row of the list that is no clip is `refused`, in `missing.csv` only."""

    DONE = "done"
    UNAVAILABLE = "unavailable"
    BAD_MEDIA = "bad_media"
    TEMPORARY = "temporary"
    QUARANTINED = "quarantined"


_OF_ERROR: dict[type[ClipError], Outcome] = {
    Unavailable: Outcome.UNAVAILABLE,
    BadMedia: Outcome.BAD_MEDIA,
    TemporarilyUnavailable: Outcome.TEMPORARY,
    WorkerDied: Outcome.QUARANTINED,
}


def outcome_of(error: ClipError) -> Outcome:
    """The outcome that an error gives a clip."""
    return next(outcome for kind, outcome in _OF_ERROR.items() if isinstance(error, kind))


class Standing(NamedTuple):
    """What a run needs to know of a manifest's line: 650,000 take less than half the memory of whole entries."""

    outcome: Outcome
    split: str
    label: str | None
    cause: str
    reason: str
    source: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestEntry:
    """One line of the manifest. A later line of the same key replaces an earlier one."""

    key: str
    youtube_id: str
    time_start: int
    """Seconds in the original video."""
    time_end: int
    split: str
    label: str | None
    outcome: Outcome
    cause: str = ""
    """Why not done, a word of `preprocess.errors.Cause`; empty when done."""
    reason: str = ""
    """Why not done, in the words of the source."""
    source: str = ""
    """`youtube`, `url`, `mirror` or `directory`."""
    path: str = ""
    """Of the clip, relative to the manifest's folder."""
    sha256: str = ""
    bytes: int = 0
    duration_s: float = 0.0
    """By decoding, as are the next ones."""
    frame_count: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    frozen_s: float = 0.0
    """Seconds of still picture, in stretches of two seconds or more."""
    black_s: float = 0.0
    """Seconds of black, likewise."""

    @classmethod
    def of_clip(cls, clip: Clip, outcome: Outcome, **fields: object) -> "ManifestEntry":
        """The entry of a clip of a list."""
        return cls(
            key=clip.key,
            youtube_id=clip.youtube_id,
            time_start=clip.time_start,
            time_end=clip.time_end,
            split=clip.split,
            label=clip.label,
            outcome=outcome,
            **fields,  # type: ignore[arg-type]
        )

    @classmethod
    def of_error(cls, clip: Clip, error: ClipError, *, source: str) -> "ManifestEntry":
        """The entry of a clip that a source could not give."""
        return cls.of_clip(clip, outcome_of(error), cause=error.cause.value, reason=str(error), source=source)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> "ManifestEntry":
        """The entry of a parsed line.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        _check_fields(values, repeated=("split", "label", "cause", "source", "fps"))
        entry = object.__new__(cls)
        for name, set_field in _SETTERS.items():
            set_field(entry, values[name])
        return entry

    @property
    def standing(self) -> Standing:
        """What a later run needs to know of it."""
        return Standing(self.outcome, self.split, self.label, self.cause, self.reason, self.source, self.sha256)


# Kinetics-700 has 650,000 entries. The __init__ of a frozen dataclass takes twice the time of its slots, and a label's
# text would be there a thousand times.
_SETTERS = {field.name: ManifestEntry.__dict__[field.name].__set__ for field in fields(ManifestEntry)}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_NAMES = tuple(_SETTERS)
_standing_fields = itemgetter(*Standing._fields)
_shared: dict[Any, Any] = {}


def _check_fields(values: dict[str, Any], *, repeated: Iterable[str]) -> None:
    """That they are those of an entry; the outcome, and texts that are `repeated` in many lines, become one object."""
    if tuple(values) != _NAMES:
        raise TypeError(f"fields {sorted(values.keys() ^ _SETTERS.keys())} are unknown or missing")
    if not isinstance(values["key"], str):
        raise TypeError("its key is no text")
    values["outcome"] = _OUTCOMES[values["outcome"]]
    for name in repeated:
        values[name] = _shared.setdefault(values[name], values[name])


@collector_paused()
def read_manifest(folder: Path) -> dict[str, ManifestEntry]:
    """The last entry of each key; empty when there is no manifest. A torn last line, from a kill, is left out."""
    return {entry.key: entry for entry in read_lines(folder / MANIFEST_NAME, parse=ManifestEntry.of_fields)}


@collector_paused()
def read_standings(
    folder: Path, *, is_there: Callable[[str, int], bool] = lambda path, size: True
) -> dict[str, Standing]:
    """How each key of the manifest stands; as `read_manifest`, but quicker and smaller.

    Args:
        folder: of the manifest.
        is_there: asked with path and bytes of each clip that is done; one that is not is `temporary`, for `GONE`.
    """
    return dict(read_lines(folder / MANIFEST_NAME, parse=partial(_standing, is_there=is_there)))


def _standing(values: dict[str, Any], *, is_there: Callable[[str, int], bool]) -> tuple[str, Standing]:
    _check_fields(values, repeated=("split", "label", "source"))
    if values["outcome"] is Outcome.DONE and not is_there(values["path"], values["bytes"]):
        values |= {"outcome": Outcome.TEMPORARY, "cause": Cause.NOT_FOUND.value, "reason": GONE}
    return values["key"], Standing._make(_standing_fields(values))


def append_manifest(folder: Path, entry: ManifestEntry) -> None:
    """Add one line, durable when this returns.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    append_line(folder / MANIFEST_NAME, asdict(entry))


def write_missing(
    folder: Path, clips: Iterable[Clip], entries: Mapping[str, Standing], refused: Iterable[RefusedRow]
) -> int:
    """Publish `missing.csv`: every wanted clip that is not done and every refused row, with status and reason.

    Returns:
        Number of rows.
    """
    missing = [clip for clip in clips if (entry := entries.get(clip.key)) is None or entry.outcome is not Outcome.DONE]
    not_clips = tuple(refused)
    rows = chain(
        [_MISSING_COLUMNS],
        (_missing_row(clip, entries.get(clip.key)) for clip in missing),
        map(_refused_row, not_clips),
    )
    publish(folder / MISSING_NAME, csv_of(rows))
    return len(missing) + len(not_clips)


def count_outcomes(
    clips: Iterable[Clip], entries: Mapping[str, Standing], refused: Iterable[RefusedRow], *, done: int = 0
) -> dict[str, int]:
    """Outcome to number, only those that occur, `done` first: the sum is clips and refused rows together.

    Args:
        clips: each is looked up.
        entries: how they stand, by key.
        refused: rows that are no clips.
        done: further clips, which are known to be done.
    """
    counts = Counter(entry.outcome.value if (entry := entries.get(clip.key)) else NOT_TRIED for clip in clips)
    counts[Outcome.DONE.value] += done
    counts[REFUSED] = sum(1 for _ in refused)
    return {name: counts[name] for name in (*Outcome, NOT_TRIED, REFUSED) if counts[name]}


def _missing_row(clip: Clip, entry: Standing | None) -> Sequence[object]:
    if entry is None:
        status, cause, reason = NOT_TRIED, "", "the run stopped before it"
    else:
        status, cause, reason = entry.outcome.value, entry.cause, entry.reason
    return (
        clip.list_name,
        clip.line,
        clip.youtube_id,
        clip.time_start,
        clip.time_end,
        cell(clip.label or ""),
        clip.split,
        status,
        cause,
        cell(reason),
    )


def _refused_row(row: RefusedRow) -> Sequence[object]:
    reason = f"{row.reason}: {','.join(row.row)[:200]!r}"
    return (row.list_name, row.line, "", "", "", "", "", REFUSED, "", cell(reason))


def csv_of(rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Rows as a file of them, in pieces; the bytes of a name that is no UTF-8 are escaped."""
    left = iter(rows)
    while some := list(islice(left, _ROWS_AT_ONCE)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(some)
        yield text.getvalue().encode(errors="backslashreplace")


def cell(text: str) -> str:
    """A text from elsewhere for a list that people open: a spreadsheet runs a cell that begins like a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
