"""What can be said of a job, by anybody who sees its folder."""

import shlex
import signal
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.jobs.log import last_error
from preprocess.jobs.process import Process
from preprocess.jobs.record import LOG_NAME, Asked, CancelAsked, Ended, Started


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    FINISHED = "finished"
    """Exit status 0."""
    FINISHED_WITH_FAILURES = "finished_with_failures"
    """Exit status 1: some clips failed, or something is broken; all else is done."""
    FAILED = "failed"
    """Any other exit status, or a signal that nobody asked for."""
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its supervisor ended without saying what came of it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, as it is now."""

    id: str
    command: str
    options: dict[str, tuple[str, ...]]
    """As `preprocess.jobs.options.order` takes them."""
    line: tuple[str, ...]
    """The command, word by word."""
    state: JobState
    note: str
    """Why it ended so, or what else does not go by itself from the state; may be empty."""
    created: float
    """Epoch seconds, as are all times."""
    ended: float | None
    exit_status: int | None
    """Negative for the signal that ended the command."""
    is_stopping: bool
    """Whether it was told to stop and still runs."""
    resumed_from: str | None
    """Id of the job that this one goes on with, which may be forgotten."""
    process: Process | None
    """Of the command; None until it has one."""

    @property
    def words(self) -> tuple[str, ...]:
        """Of the command, as a shell in ROOT takes them."""
        return tuple(map(shlex.quote, self.line))

    @property
    def output(self) -> str | None:
        """Folder that the command writes, relative to ROOT."""
        for name in ("out", "shards", "folder"):
            if name in self.options:
                return self.options[name][0]
        return None

    @property
    def has_process(self) -> bool:
        """Whether the command still runs, supervised or not."""
        return self.process is not None and self.process.is_there

    @classmethod
    def read(cls, folder: Path) -> "Job | None":
        """The job of a folder; None when there is none (any more), or its start was broken off.

        Raises:
            InvalidInput: a record is damaged.
        """
        asked = Asked.read(folder)
        if asked is None:
            return None
        # before the end is looked for: a job that ends in between is not taken for one that was lost
        is_supervised = asked.supervisor.is_there
        ended, started = Ended.read(folder), Started.read(folder)
        state = _state(ended) if ended else JobState.RUNNING if is_supervised else JobState.LOST
        if state is JobState.LOST and Asked.time_ns(folder) is None:
            return None  # forgotten while it was looked at
        process = started.process if started else None
        return cls(
            id=folder.name,
            command=asked.command,
            options=asked.options,
            line=("preprocess", asked.command, *asked.arguments),
            state=state,
            note=_note(state, ended, process, host=asked.host, folder=folder),
            created=asked.created,
            ended=ended.at if ended else None,
            exit_status=ended.exit_status if ended else None,
            is_stopping=state is JobState.RUNNING and _is_cancelled(folder),
            resumed_from=asked.resumed_from,
            process=process,
        )


def _is_cancelled(folder: Path) -> bool:
    try:
        return CancelAsked.read(folder) is not None
    except InvalidInput:
        return True


def _state(ended: Ended) -> JobState:
    if ended.exit_status == 0:
        return JobState.FINISHED
    if ended.was_cancelled:
        return JobState.CANCELLED
    return JobState.FINISHED_WITH_FAILURES if ended.exit_status == 1 else JobState.FAILED


def _note(state: JobState, ended: Ended | None, process: Process | None, *, host: str, folder: Path) -> str:
    if state is JobState.LOST:
        note = "the process that supervised it ended without a word: killed, or the machine went down"
        if host != socket.gethostname():
            note = f"it was started on {host}; from here nobody can say whether it still runs"
        elif process is not None and process.is_there:
            note += f"; its command, process {process.pid}, was told to stop and is still there"
        return note
    if state is JobState.CANCELLED:
        is_killed = ended is not None and ended.exit_status == -signal.SIGKILL
        return "killed, since it did not stop when it was told to" if is_killed else ""
    if ended is not None and ended.exit_status < 0:
        return f"killed by {_signal_name(-ended.exit_status)}"
    return last_error(folder / LOG_NAME) if state in {JobState.FAILED, JobState.FINISHED_WITH_FAILURES} else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
