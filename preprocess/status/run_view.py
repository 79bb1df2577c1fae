"""A run seen from outside: what it published, whether it is still there, and what its manifest holds."""

import fcntl
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import InvalidInput
from preprocess.regular_file import open_regular
from preprocess.status.manifest_tail import ManifestCounts, ManifestTail
from preprocess.status.run_status import RunState, Status

SILENT_S = 30.0
"""A run publishes every two seconds; after so many it is said that it does not."""

_GOING = {RunState.RUNNING, RunState.PAUSED}
_FORMAT = "kineflow-run"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Whether a process holds the folder, as `preprocess.paths.exclusive` does."""

    is_held: bool | None
    """None where that cannot be found out."""
    holder: str = ""
    """As the process wrote itself down, such as `process 12 on node7`."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What can be said of a folder now."""

    now: float
    """Epoch seconds."""
    status: Status | None
    """What the latest run published."""
    state: str
    """A `RunState`, or `none` where no run published anything; a run that died is `stopped`, whatever it says."""
    is_alive: bool | None
    """Whether the process of `status` still runs; None where it may, on another machine."""
    goes_on: bool
    """Whether another look may show more: it runs, or may run, or the next run is about to publish."""
    notes: tuple[str, ...]
    """What does not go by itself from the rest."""
    outcomes: dict[str, int]
    """Of the manifest: outcome to clips."""
    missing: tuple[tuple[str, str, int], ...]
    """Of the manifest: outcome, cause and clips of what is not done, most frequent first."""

    @property
    def left_s(self) -> float | None:
        """Seconds to the end, from `now` on; None while unknown, or when nothing runs."""
        return None if self.status is None or self.is_alive is False else self.status.left_s(now=self.now)

    def to_document(self) -> dict[str, Any]:
        """As JSON values: times in epoch seconds, counts, `run` as in `status.json`."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "now": self.now,
            "state": self.state,
            "alive": self.is_alive,
            "notes": list(self.notes),
            "run": asdict(self.status) if self.status else None,
            "manifest": {
                "outcomes": self.outcomes,
                "missing": [
                    {"outcome": outcome, "cause": cause, "clips": clips} for outcome, cause, clips in self.missing
                ],
            },
        }


class Lookout:
    """Looks at a run's folder again and again; what it read of the manifest once it does not read twice.

    Args:
        folder: of the clips of a download, or of the shards of a flow run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tail = ManifestTail(folder)

    def look(self) -> RunView:
        """What can be said now.

        Raises:
            InvalidInput: as `look_at`, or the manifest cannot be read.
        """
        return look_at(self._folder, count=self._tail.refresh)


def look_at(folder: Path, *, count: Callable[[], ManifestCounts]) -> RunView:
    """What can be said of a run now.

    Args:
        folder: of the clips of a download, or of the shards of a flow run.
        count: gives what the manifest holds.

    Raises:
        InvalidInput: no such folder, or there is nothing in it that a run leaves.
    """
    if not folder.is_dir():
        raise InvalidInput(f"folder {folder} does not exist; `preprocess download` and `preprocess flow` make them")
    notes = []
    status = None
    # before the status: a run that ends in between publishes that and is not taken for one that was killed
    lock = look_at_lock(folder)
    try:
        status = Status.read(folder)
    except InvalidInput as error:
        notes.append(f"{error}; what follows, if anything, is from the manifest alone")
    now = time.time()
    counts = count()
    if counts.malformed:
        notes.append(f"{counts.malformed} lines of the manifest are torn or malformed and were left out")
    if not (status or lock.is_held or counts.outcomes or notes):
        raise InvalidInput(
            f"{folder} has neither a status nor a manifest: no `preprocess download` or `flow` has run there"
        )
    is_alive, note = _judge(status, lock, now)
    is_going = status is not None and status.state in _GOING
    is_other = bool(lock.is_held) and (status is None or lock.holder not in {"", _who(status)})
    return RunView(
        now=now,
        status=status,
        state=_state(status, is_alive),
        is_alive=is_alive,
        goes_on=is_other or (is_going and is_alive is not False),
        notes=tuple(filter(None, (note, *notes))),
        outcomes=counts.outcomes,
        missing=counts.missing,
    )


def read_state(folder: Path) -> tuple[Status | None, str]:
    """What the latest run in `folder` published, and its state as in `RunView`; the manifest is not read.

    Raises:
        InvalidInput: as `Status.read`.
    """
    lock = look_at_lock(folder)  # first, as in `look_at`
    status = Status.read(folder)
    is_alive, _ = _judge(status, lock, time.time())
    return status, _state(status, is_alive)


def look_at_lock(folder: Path) -> Lock:
    """Whether another process holds `folder` now.

    Finding it free takes the lock, shared, for some microseconds; a run that begins within them is told that the
    folder is in use. So look no more once it was found free.
    """
    try:
        opened = open_regular(folder / ".lock")
    except FileNotFoundError:
        return Lock(is_held=False)
    except OSError:
        return Lock(is_held=None)
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Lock(is_held=True, holder=file.read(100).decode(errors="replace").strip())
        except OSError:  # a file system without locks
            return Lock(is_held=None)
        return Lock(is_held=False)


def _state(status: Status | None, is_alive: bool | None) -> str:
    if status is None:
        return "none"
    return RunState.STOPPED.value if status.state in _GOING and is_alive is False else status.state.value


def _judge(status: Status | None, lock: Lock, now: float) -> tuple[bool | None, str]:
    """Whether the run of `status` is there, and what to say about that."""
    holder = lock.holder or "another process"
    if status is None:
        return False, f"{holder} holds the folder and has published nothing yet" if lock.is_held else ""
    if lock.is_held and lock.holder in {"", _who(status)}:
        silent_s = now - status.updated
        return True, f"it has published nothing for {silent_s:.0f} s" if silent_s > SILENT_S else ""
    if status.state not in _GOING:
        return False, f"{holder} holds the folder now and has published nothing yet" if lock.is_held else ""
    if lock.is_held:
        return False, f"it ended without saying so; {holder} holds the folder now"
    if lock.is_held is False and status.host == socket.gethostname():
        return False, "it ended without saying so: killed, or the machine went down"
    silent_s = max(0.0, now - status.updated)
    return None, f"whether it still runs cannot be seen from here; last sign of life {silent_s:.0f} s ago"


def _who(status: Status) -> str:
    return f"process {status.pid} on {status.host}"
