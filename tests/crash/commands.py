"""Commands in processes of their own, as a user starts them, in a session of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.crash.processes import Process, descendants, running

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
"""Ray takes half a minute to start on a machine that does something else too."""


class Command:
    """A running command.

    Args:
        folder: where it runs; what it prints is in `log` there.
        at: a point of tests/crash/kill_points.py.
        inside: a command that runs it somewhere else, such as in a network of its own.
    """

    def __init__(
        self, *arguments: object, folder: Path, at: str = "", inside: Sequence[str] = (), **environment: str
    ) -> None:
        self._calls = folder / "calls"
        self._calls.mkdir(exist_ok=True)
        self._log = folder / "log"
        self._family: dict[int, Process] = {}
        wrapped = {"CRASH_AT": at, "CRASH_CALLS": str(self._calls), "CRASH_WRAP": ":".join(at.split(":")[:2])}
        path = f"{ROOT / 'tests' / 'crash' / 'site'}:{ROOT}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*inside, sys.executable, "-m", *map(str, arguments)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **wrapped, "PYTHONPATH": path, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the driver."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self._log.read_text(errors="replace")

    def wait_for_pause(self) -> None:
        """Until a process of the command has reached its point."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self._calls / "paused").exists():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        self._family |= {process.pid: process for process in descendants(self.pid)}

    def family(self) -> list[Process]:
        """The driver's descendants when it paused."""
        return list(self._family.values())

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the driver, or to all of its process group, as a terminal sends Ctrl-C."""
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> int:
        """Its exit status; negative for a signal."""
        return self._process.wait(PATIENCE_S)

    def orphans(self, *, within_s: float, but: Collection[str] = ()) -> list[Process]:
        """What is left of the family, after so long at most; not waiting for processes with the commands of `but`."""
        deadline = time.monotonic() + within_s
        left = self._left()
        while any(process.command not in but for process in left) and time.monotonic() < deadline:
            time.sleep(0.1)
            left = self._left()
        return left

    def _left(self) -> list[Process]:
        # by number and session: numbers are used again
        return [process for process in running() if process.pid in self._family or process.session == self.pid]

    def close(self) -> None:
        """End what a failed test has left."""
        for process in self._left():
            os.kill(process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def command(*arguments: object, folder: Path, at: str = "", **environment: str) -> Iterator[Command]:
    """A command for the time of a block."""
    started = Command(*arguments, folder=folder, at=at, **environment)
    try:
        yield started
    finally:
        started.close()
