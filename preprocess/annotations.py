"""Annotation lists to clips; the one place that trusts or refuses a raw id, time or label.

Every row becomes a `Clip` or a `RefusedRow` with its line and reason, so that the counts always add up.
"""

import csv
import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InvalidInput

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""Every published spelling of a split, to ours."""

_COLUMNS = {
    "label": ("label", "label-name"),
    "youtube_id": ("youtube_id", "video-id"),
    "time_start": ("time_start", "start-time"),
    "time_end": ("time_end", "end-time"),
    "split": ("split",),
}
_ID = re.compile(r"\A[0-9A-Za-z_-]{11}\Z")  # \Z, not $, which would let a final newline through
_LAST_SECOND = 999_999  # six digits in a key
_LABEL_LENGTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Some seconds of one video, with what is seen in them."""

    youtube_id: str
    """11 characters of [0-9A-Za-z_-]; may start with a dash."""
    time_start: int
    """Whole seconds from the video's start."""
    time_end: int
    split: str
    """`train`, `val` or `test`."""
    label: str | None
    """None where the list has no labels (published test lists)."""
    line: int
    """Of the list, from 1."""

    @property
    def key(self) -> str:
        """The name of the clip everywhere; one video may give several clips.

        Example: `SOX5yA1l24A_000001_000009`.
        """
        return f"{self.youtube_id}_{self.time_start:06d}_{self.time_end:06d}"


@dataclass(frozen=True, kw_only=True)
class RefusedRow:
    """A row that is not a clip."""

    line: int
    """Of the list, from 1."""
    reason: str
    row: tuple[str, ...]
    """The raw fields."""


@dataclass(frozen=True, kw_only=True)
class ClipList:
    """A list, read whole: `len(clips) + len(refused)` is its number of rows."""

    clips: tuple[Clip, ...]
    refused: tuple[RefusedRow, ...]


def read_kinetics(path: Path) -> ClipList:
    """Read a Kinetics list: `label,youtube_id,time_start,time_end,split[,is_cc]`, in any published spelling.

    Test lists may lack `label`; a list without `split` takes it from a file name that contains train, val or test.

    Raises:
        InvalidInput: not a file, empty, or a header without the needed columns.
    """
    if not path.is_file():
        raise InvalidInput(f"list {path} does not exist or is not a file")
    # surrogateescape: one latin-1 label refuses its row, not the whole list
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            columns = _find_columns(header, path)
            default_split = None if "split" in columns else _split_from_name(path)
            clips: dict[str, Clip] = {}
            refused: list[RefusedRow] = []
            for row in reader:
                if not row:
                    continue
                try:
                    clip = _to_clip(row, columns, default_split, line=reader.line_num)
                    if clip.key in clips:
                        raise ValueError(f"clip {clip.key} already stands in line {clips[clip.key].line}")
                    clips[clip.key] = clip
                except ValueError as error:
                    refused.append(RefusedRow(line=reader.line_num, reason=str(error), row=tuple(row)))
        except csv.Error as error:
            raise InvalidInput(f"list {path}, line {reader.line_num}: not CSV ({error})") from error
    return ClipList(clips=tuple(clips.values()), refused=tuple(refused))


def select(
    clips: Iterable[Clip],
    *,
    splits: Iterable[str] = (),
    classes: Iterable[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[Clip]:
    """The clips of the given splits and classes (all, when empty); of these, `limit` drawn with `seed`, in list order.

    Raises:
        InvalidInput: an unknown split, a class that no clip has, or a limit below 1.
    """
    wanted_splits = {_known_split(split) for split in splits}
    chosen = [clip for clip in clips if not wanted_splits or clip.split in wanted_splits]
    wanted_classes = set(classes)
    missing = wanted_classes - {clip.label for clip in chosen}
    if missing:
        names = ", ".join(sorted(map(repr, missing)))
        raise InvalidInput(f"no clip has the class {names}; classes are spelled as in the list")
    chosen = [clip for clip in chosen if not wanted_classes or clip.label in wanted_classes]
    if limit is not None:
        if limit < 1:
            raise InvalidInput(f"limit must be at least 1, got {limit}")
        if limit < len(chosen):
            picked = random.Random(seed).sample(range(len(chosen)), limit)  # noqa: S311 a draw, not a secret
            chosen = [chosen[i] for i in sorted(picked)]
    return chosen


def _find_columns(header: list[str], path: Path) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    columns = {
        column: names.index(spelling)
        for column, spellings in _COLUMNS.items()
        for spelling in spellings
        if spelling in names
    }
    missing = {"youtube_id", "time_start", "time_end"} - columns.keys()
    if missing:
        hint = "; the delimiter must be a comma" if len(header) == 1 and re.search(r"[;\t|]", header[0]) else ""
        raise InvalidInput(
            f"list {path} lacks the column {', '.join(sorted(missing))}; expected "
            f"label,youtube_id,time_start,time_end,split, its first line is {','.join(header)[:200]!r}{hint}"
        )
    return columns


def _split_from_name(path: Path) -> str:
    found = {split for spelling, split in SPLITS.items() if spelling in path.stem.lower()}
    if len(found) != 1:
        raise InvalidInput(
            f"list {path} has no column 'split' and its name does not say train, val or test; add the column"
        )
    return found.pop()


def _to_clip(row: list[str], columns: dict[str, int], default_split: str | None, *, line: int) -> Clip:
    if len(row) <= max(columns.values()):
        raise ValueError(f"{len(row)} fields, expected {max(columns.values()) + 1} or more")
    fields = {name: row[index] for name, index in columns.items()}
    if not _ID.match(fields["youtube_id"]):
        raise ValueError(f"youtube_id {fields['youtube_id']!r} is not 11 characters of A-Z a-z 0-9 _ -")
    start, end = (_whole_seconds(fields[name], name) for name in ("time_start", "time_end"))
    if end <= start:
        raise ValueError(f"time_end {end} is not after time_start {start}")
    label = _checked_label(fields["label"]) if "label" in fields else None
    split = SPLITS.get(fields["split"].strip().lower()) if "split" in fields else default_split
    if split is None:
        raise ValueError(f"split {fields['split']!r} is not one of {', '.join(SPLITS)}")
    return Clip(youtube_id=fields["youtube_id"], time_start=start, time_end=end, split=split, label=label, line=line)


def _whole_seconds(text: str, name: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value) or not 0 <= value <= _LAST_SECOND:
        raise ValueError(f"{name} {text!r} is not a whole number of seconds from 0 to {_LAST_SECOND}")
    return int(value)


def _checked_label(text: str) -> str:
    label = text.strip()
    if not label or len(label) > _LABEL_LENGTH or not label.isprintable():
        raise ValueError(f"label {text[:60]!r} is empty, longer than {_LABEL_LENGTH} characters or not printable text")
    return label


def _known_split(split: str) -> str:
    if split.lower() not in SPLITS:
        raise InvalidInput(f"split {split!r} is unknown; use train, val or test")
    return SPLITS[split.lower()]
