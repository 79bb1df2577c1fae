"""Files of JSON lines: appended so that each line outlives a crash, and read past what a kill tore."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from preprocess.errors import EnvironmentProblem

Record = TypeVar("Record")

_LINES_AT_ONCE = 1000

logger = logging.getLogger(__name__)


def append_line(path: Path, fields: Mapping[str, Any], *, durable: bool = True) -> None:
    """Add one line; when this returns it is on the disk, or with `durable` off in the hands of the system.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    line = json.dumps(fields, ensure_ascii=False) + "\n"
    try:
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line  # a torn line must not take this one with it
            file.write(line.encode())
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}; free space, then run the command again"
        ) from error


def read_lines(path: Path, *, parse: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """The records of a file, nothing when there is no file. A line that was torn by a kill is logged and left out.

    Args:
        path: a file that `append_line` wrote.
        parse: from the fields of a line; raises ValueError, TypeError or KeyError where they are not right.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        number = 0
        while lines := list(islice(file, _LINES_AT_ONCE)):
            try:
                parsed = json.loads(b"[%b]" % b",".join(lines))  # twice as fast as line by line
                whole = len(parsed) == len(lines)
            except ValueError:
                whole = False
            for offset, line in enumerate(lines):
                try:
                    record = parse(parsed[offset] if whole else json.loads(line))
                except (ValueError, TypeError, KeyError):
                    place = f"{path} line {number + offset + 1}"
                    logger.warning("%s is torn or malformed and was left out: %r", place, line[:80])
                    continue
                yield record
            number += len(lines)
