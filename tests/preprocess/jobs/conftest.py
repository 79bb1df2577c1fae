"""A root with something to do, and jobs on it that end with the test."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from preprocess.jobs.jobs import Jobs
from tests.crash.processes import Process, running
from tests.preprocess.jobs.small_jobs import make_root, paused_at, wait_until


@pytest.fixture(scope="session")
def made_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("made"))


def of_root(root: Path) -> list[Process]:
    """Supervisors and commands of the jobs in a root."""
    found = []
    for process in running():
        with suppress(OSError):  # it has ended meanwhile
            if Path(f"/proc/{process.pid}/cwd").resolve() == root:
                found.append(process)
    return found


def killed(root: Path) -> list[Process]:
    """Those of a root, each killed; one that was just starting another has to be asked for again."""
    found = of_root(root)
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return found


@pytest.fixture
def root(made_root: Path, tmp_path: Path) -> Iterator[Path]:
    root = (tmp_path / "root").resolve()
    shutil.copytree(made_root, root)
    yield root
    wait_until(lambda: not killed(root), what="a job outlived its test")


@pytest.fixture
def jobs(root: Path) -> Jobs:
    return Jobs(root)


@pytest.fixture
def pause_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], None]]:
    """Lets commands that are started from now on wait at a point; gives what waits until one is there."""

    def pause(point: str) -> Callable[[], None]:
        calls = tmp_path / "calls"
        for name, value in paused_at(point, folder=calls).items():
            monkeypatch.setenv(name, value)
        return lambda: wait_until((calls / "paused").exists, what=f"nothing came to {point}")

    return pause
