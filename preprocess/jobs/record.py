"""What is kept of a job, in a folder of its own: files that are each written once, whole.

job.json       by who starts it: what was asked for, and who supervises it
command.json   by the supervisor: the process of the command
cancel.json    by who cancels it
ended.json     by the supervisor: what came of it
log.txt        what the command says
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from preprocess.errors import InvalidInput
from preprocess.jobs.process import Process
from preprocess.paths import publish
from preprocess.typed_json import read_record
from preprocess.words import LAST_SECOND

LOG_NAME = "log.txt"
_VERSION = 1
_MOST_BYTES = 8 << 20  # of a file: the arguments of a process are 2 MiB at most


@dataclass(frozen=True, kw_only=True)
class Record:
    """One of the files."""

    def write(self, folder: Path) -> None:
        """Publish it in the folder of a job.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        document = {"version": _VERSION, **asdict(self)}
        publish(folder / _NAMES[type(self)], (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())

    @classmethod
    def time_ns(cls, folder: Path) -> int | None:
        """When the file was written, in nanoseconds of the epoch, whatever is in it; None when it is not there."""
        try:
            return (folder / _NAMES[cls]).stat().st_mtime_ns
        except OSError:
            return None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The file in the folder of a job; None when it is not there.

        Raises:
            InvalidInput: unreadable, damaged, or of another version.
        """
        path = folder / _NAMES[cls]
        record = read_record(cls, path, marks={"version": _VERSION}, name="record of a job", most=_MOST_BYTES)
        if record is None:
            return None
        if not all(0 <= getattr(record, name, 0) <= LAST_SECOND for name in ("created", "at")):
            raise InvalidInput(f"{path} holds a time that no calendar has")
        try:
            json.dumps(asdict(record), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # an escape may stand for what no answer can carry
            raise InvalidInput(f"{path} holds a text that is none ({error.reason})") from error
        return record


@dataclass(frozen=True, kw_only=True)
class Asked(Record):
    """What a job is to do."""

    command: str
    """A name of `preprocess.commands.schema.DESCRIBED`."""
    options: dict[str, tuple[str, ...]]
    """Name, as it is typed without dashes, to its values; a flag is `true`."""
    arguments: tuple[str, ...]
    """The same, as the command gets it; paths are relative to `root`."""
    root: str
    """Folder in which the command runs."""
    created: float
    """Epoch seconds."""
    resumed_from: str | None
    """Id of the job that this one goes on with."""
    grace_s: float
    """From the request to stop to the kill."""
    host: str
    supervisor: Process


@dataclass(frozen=True, kw_only=True)
class Started(Record):
    """The command runs."""

    process: Process
    """It leads a session and a process group of its own."""


@dataclass(frozen=True, kw_only=True)
class CancelAsked(Record):
    """Somebody wants it to stop."""

    at: float
    """Epoch seconds."""


@dataclass(frozen=True, kw_only=True)
class Ended(Record):
    """The command has ended."""

    at: float
    """Epoch seconds."""
    exit_status: int
    """Negative for the signal that ended it."""
    was_cancelled: bool
    """Whether it was told to stop before."""


_NAMES: dict[type[Record], str] = {
    Asked: "job.json",
    Started: "command.json",
    CancelAsked: "cancel.json",
    Ended: "ended.json",
}
