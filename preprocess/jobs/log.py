"""What a command said, a part at a time, as plain text."""

import re
from dataclasses import dataclass
from pathlib import Path

from preprocess.console import printable
from preprocess.errors import EnvironmentProblem
from preprocess.regular_file import open_regular

MOST_BYTES = 64 << 10
"""Of one part."""

_REASON_BYTES = 8 << 10
# ECMA-48: control sequences, strings such as window titles, and two-character escapes
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


@dataclass(frozen=True, kw_only=True)
class LogPart:
    """Some lines of a log."""

    offset: int
    """Bytes of the log before them."""
    next: int
    """Where the next part begins."""
    size: int
    """Bytes of the whole log now."""
    text: str
    """Without the codes that colour a terminal or move its cursor; other control characters are escaped."""


def read_log(path: Path, *, offset: int | None, is_whole: bool) -> LogPart:
    """Whole lines from `offset` on, at most `MOST_BYTES` of them; a longer line comes in pieces.

    Args:
        path: of the log; nothing was said while it does not exist.
        offset: bytes to pass over, `next` of the part before; None begins with the last `MOST_BYTES`.
        is_whole: nothing more will be written, so that a last line without an end is one.

    Raises:
        EnvironmentProblem: the log cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            first = max(0, size - MOST_BYTES) if offset is None else min(offset, size)
            file.seek(first)
            content = file.read(min(MOST_BYTES, size - first))
    except FileNotFoundError:
        return LogPart(offset=0, next=0, size=0, text="")
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror}") from error
    if offset is None and first > 0:  # it begins within a line
        cut = content.find(b"\n") + 1
        first, content = first + cut, content[cut:]
    if not (is_whole and first + len(content) == size):
        content = content[: content.rfind(b"\n") + 1] or (content if len(content) == MOST_BYTES else b"")
    return LogPart(offset=first, next=first + len(content), size=size, text=plain(content))


def plain(content: bytes) -> str:
    r"""Output of a program as text that is safe to show.

    Example:
        >>> plain(b"\x1b[31mred\x1b[0m\r\n50%\r100%\x07\n")
        'red\n50%\n100%\\x07\n'
    """
    text = _ESCAPES.sub("", content.decode(errors="replace"))
    return printable(text.replace("\r\n", "\n").replace("\r", "\n").expandtabs())


def last_error(path: Path) -> str:
    """The latest line in which the command says why it ended; empty when there is none.

    Args:
        path: of the log.
    """
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, 2) - _REASON_BYTES))
            said = plain(file.read(_REASON_BYTES))
    except OSError:  # the page of the log says so
        return ""
    return next((line for line in reversed(said.splitlines()) if line.startswith("Error: ")), "")
