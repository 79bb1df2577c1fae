"""`python -m preprocess.jobs.supervise FOLDER`: runs the command of a job, waits, and writes down how it ended.

It is a session of its own, so that it outlives who started it, and small, since it waits for days. It begins when it
reads `go` on its standard input; who starts it writes its process down before.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from preprocess.errors import EnvironmentProblem
from preprocess.jobs.process import Process
from preprocess.jobs.record import LOG_NAME, Asked, Ended, Started

GO = b"go"
HEARD = {signal.SIGTERM, signal.SIGCHLD}
"""Signals of a supervisor, which it waits for and who starts it blocks."""
AGAIN_S = 1.0
"""Until it is written down once more how the command ended: a job whose end nobody knows counts as lost."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def main(folder: Path) -> None:
    """Run the job of a folder to its end."""
    # blocked signals wait until they are asked for, so none is lost; the first moments are the starter's to block
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    if sys.stdin.buffer.read() != GO:
        return
    asked = Asked.read(folder)
    assert asked is not None, folder
    with (folder / LOG_NAME).open("ab") as log:
        command = subprocess.Popen(
            [sys.executable, "-P", "-m", "preprocess", asked.command, *asked.arguments],
            cwd=asked.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_tie_to_supervisor,  # noqa: PLW1509 there are no other threads here
        )
    process = Process.of(command.pid)
    if process is not None:  # else it has ended already
        with suppress(EnvironmentProblem):  # a disk that is full costs the page its progress, not the job
            Started(process=process).write(folder)
    was_cancelled = _wait(command.pid, grace_s=asked.grace_s)
    # before it is reaped, while nobody else can get its number: what it has left behind
    with suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGKILL)
    exit_status = command.wait()
    ended = Ended(at=time.time(), exit_status=exit_status, was_cancelled=was_cancelled)
    while not _is_gone(folder):
        try:
            ended.write(folder)
            break
        except EnvironmentProblem:  # such as a disk that is full, as it may be for the command itself
            time.sleep(AGAIN_S)


def _wait(pid: int, *, grace_s: float) -> bool:
    """Wait until a child has ended; returns whether it was told to stop.

    It alone is told, and drops what is under way: Ray's processes and decoders, told at the same moment, would end
    before it and look like failures. After `grace_s` its whole group is killed.
    """
    kill_at: float | None = None
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if kill_at is None:
            if signal.sigwait(HEARD) == signal.SIGTERM:
                os.kill(pid, signal.SIGTERM)
                kill_at = time.monotonic() + grace_s
        elif (left_s := kill_at - time.monotonic()) > 0:
            signal.sigtimedwait(HEARD, left_s)
        else:
            os.killpg(pid, signal.SIGKILL)
            signal.sigwait({signal.SIGCHLD})
    return kill_at is not None


def _is_gone(folder: Path) -> bool:
    """Whether somebody deleted it, perhaps with all of ROOT, which is not to be made anew."""
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    except OSError:  # the disk does not answer now
        return False
    return False


def _tie_to_supervisor() -> None:
    """Let the command be told to stop, too, when its supervisor is killed: nobody would know how it ended."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
