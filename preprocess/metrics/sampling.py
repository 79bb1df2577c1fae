"""Runs as samples: any folder's latest run, or the one of this process."""

import os
import shutil
import socket
import time
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.metrics.run_metrics import NONE, UNREADABLE, RunSample
from preprocess.status.run_status import Status
from preprocess.status.run_view import read_state


def sample_folder(folder: Path, *, run: str) -> RunSample:
    """The latest run in `folder`, of whatever process.

    Args:
        folder: of clips or shards.
        run: how the label of this name shows it.
    """
    try:
        status, state = read_state(folder)
    except InvalidInput:
        status, state = None, UNREADABLE
    return RunSample(run=run, state=state, status=status, free_bytes=free_bytes(folder))


class OwnRun:
    """The run of this process.

    Its lock is not looked at, as `sample_folder` does: that could get in the way of taking it.

    Args:
        folder: that it makes, not there perhaps.
        run: how the label of this name shows it.
    """

    def __init__(self, folder: Path, *, run: str) -> None:
        self._folder = folder
        self._run = run
        self._began = time.time()

    def sample(self) -> RunSample:
        """How far it is; what another run published there before does not count."""
        status, state = None, NONE
        try:
            found = Status.read(self._folder)
            if found is not None and self._is_ours(found):
                status, state = found, found.state.value
        except InvalidInput:
            state = UNREADABLE
        return RunSample(run=self._run, state=state, status=status, free_bytes=free_bytes(self._folder))

    def _is_ours(self, status: Status) -> bool:
        # in a container every run may be process 1
        is_this_process = (status.pid, status.host) == (os.getpid(), socket.gethostname())
        return is_this_process and status.started >= self._began


def free_bytes(folder: Path) -> int | None:
    """That its disk has left; None where that cannot be found out."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
