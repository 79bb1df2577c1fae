"""Files of JSON lines: appended so that each line outlives a crash, and read past what a kill tore or a disk changed.

Each line ends in a checksum of itself: a label with a flipped bit is as good JSON as the right one.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from preprocess.errors import EnvironmentProblem

Record = TypeVar("Record")

_LINES_AT_ONCE = 100  # parsed together: of 10 to 1000 the quickest
_SUM_NAME = "crc32"
_SUM_FIELD = f', "{_SUM_NAME}": "'.encode()  # then 8 hexadecimal digits and the end of the line
_SUM_END = b'"}\n'
_SUM_AT = -(len(_SUM_FIELD) + 8 + len(_SUM_END))
_SUM_TO = _SUM_AT + len(_SUM_FIELD)
_LINE_END = ord("\n")

logger = logging.getLogger(__name__)


def append_line(path: Path, fields: Mapping[str, Any], *, durable: bool = True) -> None:
    """Add one line; when this returns it is on the disk, or with `durable` off in the hands of the system.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    line = line_of(fields)
    try:
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line  # a torn line must not take this one with it
            file.write(line)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}; free space, then run the command again"
        ) from error


def line_of(fields: Mapping[str, Any]) -> bytes:
    """A line as `read_lines` takes it: the fields, at least one, and the checksum of their text."""
    text = json.dumps(fields, ensure_ascii=False)[:-1].encode(errors="backslashreplace")  # as JSON escapes surrogates
    return text + _SUM_FIELD + f"{zlib.crc32(text):08x}".encode() + _SUM_END


def read_lines(path: Path, *, parse: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """The records of a file, nothing when there is no file. A line that is torn or changed is logged and left out.

    Args:
        path: a file that `append_line` wrote.
        parse: from the fields of a line; raises ValueError, TypeError or KeyError where they are not right.

    Raises:
        EnvironmentProblem: this user or this disk cannot read it.
    """
    number = 0
    for lines in _some_lines(path):
        try:
            parsed = json.loads(b"[%b]" % b",".join(lines))  # twice as fast as line by line
            whole = len(parsed) == len(lines)
        except (ValueError, RecursionError):
            whole = False
        for offset, line in enumerate(lines):
            try:
                record = parse(_without_sum(parsed[offset] if whole else json.loads(line), line))
            except (ValueError, TypeError, KeyError, RecursionError):
                place = f"{path} line {number + offset + 1}"
                logger.warning("%s is torn or malformed and was left out: %r", place, line[:80])
                continue
            yield record
        number += len(lines)


def parse_line(line: bytes) -> dict[str, Any]:
    """The fields of one line that `append_line` wrote.

    Raises:
        ValueError: torn or changed.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError(f"not an object: {line[:80]!r}")
    return _without_sum(fields, line)


def _some_lines(path: Path) -> Iterator[list[bytes]]:
    try:
        if path.is_file():
            with path.open("rb") as file:
                while lines := list(islice(file, _LINES_AT_ONCE)):
                    yield lines
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read: {error.strerror}; see to its mode and its disk") from error


def _without_sum(fields: dict[str, Any], line: bytes) -> dict[str, Any]:
    """The fields without the checksum; ValueError if it is not that of the line, or there is none."""
    if line[-1] != _LINE_END:
        line += b"\n"  # all but that was written before a kill
    if line[_SUM_AT:_SUM_TO] != _SUM_FIELD or fields.pop(_SUM_NAME) != f"{zlib.crc32(line[:_SUM_AT]):08x}":
        raise ValueError(f"checksum of {line[:80]!r}")
    return fields
