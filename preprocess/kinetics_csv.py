"""A Kinetics CSV line by line: the one place that trusts or refuses a raw id, time, split or label.

A row is one line. No published list breaks a row in two, and a quote that is opened and never closed would take all
rows after it along.
"""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from preprocess.errors import InvalidInput

SPLITS = {"train": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val", "test": "test"}
"""Every spelling of a split in lists and folders, to ours."""
LINE_LENGTH = 100_000
"""Characters; a longer line is refused."""

_COLUMN_OF = {
    "label": "label",
    "label-name": "label",
    "youtube_id": "youtube_id",
    "video-id": "youtube_id",
    "time_start": "time_start",
    "start-time": "time_start",
    "time_end": "time_end",
    "end-time": "time_end",
    "split": "split",
}
_NEEDED = ("youtube_id", "time_start", "time_end")
_NOT_TEXT = {"\x1f\udc8b": "gzip", "PK\x03\x04": "zip", "BZh": "bzip2", "\udcfd7zXZ": "xz", "(\udcb5/\udcfd": "zstd"}
_ID = re.compile(r"[0-9A-Za-z_-]{11}")
_WORD = re.compile(r"[^\W\d_]+")
_SECONDS = re.compile(r"\s*([0-9]{1,6})(\.0*)?\s*")
_SECONDS_LENGTH = 32  # characters
_LAST_SECOND = 999_999  # six digits in a key
_LABEL_LENGTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Where in a list's rows its values are; None where it has no such column."""

    youtube_id: int
    time_start: int
    time_end: int
    split: int | None
    label: int | None
    count: int
    """Columns of the header."""
    needed: int
    """Fields that a row must have."""
    default_split: str
    """Of a list without that column."""
    unlabelled: bool
    """Whether an empty label means that a clip has none, as in our own `list.csv`."""

    @classmethod
    def of_header(cls, line: str, *, path: Path, unlabelled: bool = False) -> "Columns":
        """Read the first line of a list.

        Args:
            line: with or without its end.
            path: of the list, for messages, and for the split where no column has it.
            unlabelled: see the field.

        Raises:
            InvalidInput: no text, a needed column is missing, a column twice, or the split stands nowhere.
        """
        header = _header_fields(line, path)
        known = [_COLUMN_OF.get(name.strip().lower()) for name in header]
        if twice := [column for column, count in Counter(known).items() if column and count > 1]:
            raise InvalidInput(f"list {path} has the column {twice[0]} twice, its first line is {_quoted(header)}")
        places = {column: place for place, column in enumerate(known) if column}
        if missing := [column for column in _NEEDED if column not in places]:
            hint = "; the delimiter must be a comma" if len(header) == 1 and re.search(r"[;\t|]", header[0]) else ""
            raise InvalidInput(
                f"list {path} lacks the column {', '.join(missing)}; expected "
                f"label,youtube_id,time_start,time_end,split, its first line is {_quoted(header)}{hint}"
            )
        return cls(
            youtube_id=places["youtube_id"],
            time_start=places["time_start"],
            time_end=places["time_end"],
            split=places.get("split"),
            label=places.get("label"),
            count=len(header),
            needed=max(places.values()) + 1,
            default_split="" if "split" in places else _split_from_name(path),
            unlabelled=unlabelled,
        )

    def row(self, fields: list[str]) -> tuple[str, int, int, str, str | None]:
        """Check the fields of a line.

        Returns:
            The id, the first and the last second, the split, and the label or None.

        Raises:
            ValueError: quoting what is wrong.
        """
        if len(fields) != self.count:
            self._check_count(fields)
        youtube_id = fields[self.youtube_id]
        if not _ID.fullmatch(youtube_id):
            raise ValueError(f"youtube_id {youtube_id[:60]!r} is not 11 characters of A-Z a-z 0-9 _ -")
        start = _checked_seconds(fields[self.time_start], "time_start")
        end = _checked_seconds(fields[self.time_end], "time_end")
        if end <= start:
            raise ValueError(f"time_end {end} is not after time_start {start}")
        split = self.default_split if self.split is None else _checked_split(fields[self.split])
        if self.label is None or (self.unlabelled and not fields[self.label]):
            return youtube_id, start, end, split, None
        return youtube_id, start, end, split, _checked_label(fields[self.label])

    def _check_count(self, fields: list[str]) -> None:
        if len(fields) < self.needed:
            raise ValueError(f"{len(fields)} fields, expected {self.needed} or more")
        if any(field.strip() for field in fields[self.count :]):  # spreadsheets end rows with empty ones
            raise ValueError(f"{len(fields)} fields, the header has {self.count}; quote a label with a comma in it")


def split_line(line: str) -> list[str]:
    """The fields of a line.

    Raises:
        ValueError: too long, or its quotes do not match.
    """
    line = line.rstrip("\n")
    if len(line) > LINE_LENGTH:
        raise ValueError(f"{len(line)} characters long, at most {LINE_LENGTH} are read")
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"quotes that do not match within the line ({error})") from error


def _header_fields(line: str, path: Path) -> list[str]:
    if not line:
        raise InvalidInput(f"list {path} is empty; expected the line label,youtube_id,time_start,time_end,split first")
    if packed := next((name for start, name in _NOT_TEXT.items() if line.startswith(start)), None):
        raise InvalidInput(f"list {path} is packed with {packed}; unpack it first")
    if "\0" in line:
        raise InvalidInput(f"list {path} is not UTF-8 text but UTF-16 or binary; save it as CSV in UTF-8")
    try:
        return split_line(line)
    except ValueError as error:
        raise InvalidInput(f"list {path}, first line: {error}; it must name the columns") from error


def _quoted(header: list[str]) -> str:
    return repr(",".join(header)[:200])


def _split_from_name(path: Path) -> str:
    words = (word.removesuffix("list") for word in _WORD.findall(path.stem.lower()))
    found = {SPLITS[word] for word in words if word in SPLITS}
    if len(found) != 1:
        raise InvalidInput(
            f"list {path} has no column 'split' and its name does not say train, val or test; add the column"
        )
    return found.pop()


def _checked_seconds(text: str, name: str) -> int:
    seconds = _whole_seconds(text) if len(text) <= _SECONDS_LENGTH else None
    if seconds is None:
        raise ValueError(f"{name} {text[:60]!r} is not a whole number of seconds from 0 to {_LAST_SECOND}")
    return seconds


def _checked_split(text: str) -> str:
    split = SPLITS.get(text.strip().lower())
    if split is None:
        raise ValueError(f"split {text[:60]!r} is not one of {', '.join(SPLITS)}")
    return split


def _checked_label(text: str) -> str:
    if len(text) > _LABEL_LENGTH:
        raise ValueError(f"label {text[:60]!r} is longer than {_LABEL_LENGTH} characters")
    label = _printable(text)
    if label is None:
        reason = "is not printable UTF-8 text" if text.strip() else "is empty"
        raise ValueError(f"label {text[:60]!r} {reason}")
    return label


# A list has few different times and labels: remembered, they are found faster, and are one object each. Only short
# texts get here, or a hostile list would fill the memory.


@lru_cache(maxsize=1 << 16)
def _whole_seconds(text: str) -> int | None:
    match = _SECONDS.fullmatch(text)
    return int(match[1]) if match else None


@lru_cache(maxsize=1 << 12)
def _printable(text: str) -> str | None:
    label = text.strip()
    return label if label and label.isprintable() else None
