"""The runs below ROOT, found again and again, but not more often than it takes."""

import os
import threading
import time
from pathlib import Path

from preprocess.errors import EnvironmentProblem
from preprocess.serve.run_folders import RunFolder, find_runs

FIND_EVERY_S = 5.0
"""Seconds that a list of folders is good for, or longer where finding them takes long."""
_SHARE = 0.05  # of the time that is spent on finding folders, at most


class Runs:
    """All runs of a server; for many threads.

    Args:
        root: folder that they are in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._good_until = 0.0
        self._found: tuple[RunFolder, ...] = ()

    def check_root(self) -> None:
        """That ROOT is still there: a disk that is gone is no empty folder, and nothing is to be written in its place.

        Raises:
            EnvironmentProblem: it is not, or cannot be read.
        """
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise EnvironmentProblem(f"cannot read ROOT {self._root}: {error.strerror}") from error

    def folders(self) -> tuple[RunFolder, ...]:
        """Every folder of clips or shards, sorted by name.

        Raises:
            EnvironmentProblem: as `check_root`.
        """
        self.check_root()
        with self._lock:
            began = time.monotonic()
            if began >= self._good_until:
                self._found = find_runs(self._root)
                now = time.monotonic()
                self._good_until = now + max(FIND_EVERY_S, (now - began) / _SHARE)
            return self._found

    def folder(self, id: str) -> RunFolder | None:  # noqa: A002 as the field is called
        """The run of this id, if there is one."""
        return next((run for run in self.folders() if run.id == id), None)
