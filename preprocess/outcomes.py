"""What became of every clip: `manifest.jsonl` (the truth, append-only) and `missing.csv` (for reading)."""

import csv
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from preprocess.annotations import Clip, RefusedRow
from preprocess.errors import (
    BadMedia,
    EnvironmentProblem,
    KineflowError,
    TemporarilyUnavailable,
    Unavailable,
    WorkerDied,
)
from preprocess.paths import publish

MANIFEST_NAME = "manifest.jsonl"
MISSING_NAME = "missing.csv"

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How a clip ended; a row of the list that is no clip is `refused`, in `missing.csv` only."""

    DONE = "done"
    UNAVAILABLE = "unavailable"
    BAD_MEDIA = "bad_media"
    TEMPORARY = "temporary"
    QUARANTINED = "quarantined"


_OF_ERROR: dict[type[KineflowError], Outcome] = {
    Unavailable: Outcome.UNAVAILABLE,
    BadMedia: Outcome.BAD_MEDIA,
    TemporarilyUnavailable: Outcome.TEMPORARY,
    WorkerDied: Outcome.QUARANTINED,
}


def outcome_of(error: KineflowError) -> Outcome | None:
    """The outcome that an error gives a clip; None for errors that are not about a clip."""
    return _OF_ERROR.get(type(error))


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


def read_manifest(folder: Path) -> dict[str, ManifestEntry]:
    """The last entry of each key; empty when there is no manifest. A torn last line, from a kill, is left out."""
    path = folder / MANIFEST_NAME
    entries: dict[str, ManifestEntry] = {}
    if not path.is_file():
        return entries
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
                entry = ManifestEntry(**{**fields, "outcome": Outcome(fields["outcome"])})
            except (ValueError, TypeError, KeyError):
                logger.warning("%s line %d is torn or malformed and was left out: %r", path, number, line[:80])
                continue
            entries[entry.key] = entry
    return entries


def append_manifest(folder: Path, entry: ManifestEntry) -> None:
    """Add one line, durable when this returns.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    path = folder / MANIFEST_NAME
    try:
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line  # a torn line must not take this one with it
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}; free space, then run the command again"
        ) from error


def write_missing(
    folder: Path, clips: Iterable[Clip], entries: Mapping[str, ManifestEntry], refused: Iterable[RefusedRow]
) -> int:
    """Publish `missing.csv`: every wanted clip that is not done and every refused row, with status and reason.

    Returns:
        Number of rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["line", "youtube_id", "time_start", "time_end", "label", "split", "status", "reason"])
    count = 0
    for clip in clips:
        entry = entries.get(clip.key)
        if entry is not None and entry.outcome is Outcome.DONE:
            continue
        status, reason = (entry.outcome.value, entry.reason) if entry else ("not_tried", "the run stopped before it")
        times = (clip.time_start, clip.time_end)
        writer.writerow(
            [clip.line, clip.youtube_id, *times, _cell(clip.label or ""), clip.split, status, _cell(reason)]
        )
        count += 1
    for row in refused:
        writer.writerow([row.line, "", "", "", "", "", "refused", _cell(f"{row.reason}: {','.join(row.row)[:200]!r}")])
        count += 1
    publish(folder / MISSING_NAME, text.getvalue().encode(errors="backslashreplace"))
    return count


def count_outcomes(entries: Iterable[ManifestEntry]) -> dict[str, int]:
    """Outcome to number of clips, only those that occur, `done` first."""
    counts = Counter(entry.outcome.value for entry in entries)
    return {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


def _cell(text: str) -> str:
    # spreadsheets run cells that begin like a formula
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
