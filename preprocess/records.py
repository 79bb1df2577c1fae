"""Files of the driver that belong to a run's output, such as a manifest, kept at the address that its files go to."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from preprocess.errors import KineflowError
from preprocess.object_store import ObjectStore
from preprocess.paths import publish, temporary_beside

SENT_NAME = ".sent.json"
"""In every staging folder, before anything else."""
_EVERY_S = 60.0
_SHARE = 0.05  # of the time at most, for sending a manifest that grows to hundreds of megabytes again and again

logger = logging.getLogger(__name__)


class NoRecords:
    """They are where they belong; see `SentRecords`."""

    def tick(self) -> None:
        """Nothing is to be done."""

    def send(self) -> None:
        """Nothing is to be done."""


class SentRecords:
    """Keeps the files of a staging folder at an address too.

    What the address has counts, unless it is what was sent from here: a run may go on from another machine, or with an
    empty staging folder.

    Args:
        store: the address.
        folder: of the files, held by this run.
        names: of the files, in the order in which they are sent.
    """

    def __init__(self, store: ObjectStore, folder: Path, names: Sequence[str]) -> None:
        self._store = store
        self._folder = folder
        self._names = tuple(names)
        self._sent: dict[str, str | None] = {}
        self._states: dict[str, tuple[int, int]] = {}
        self._due = time.monotonic() + _EVERY_S

    @contextmanager
    def kept(self) -> Iterator["SentRecords"]:
        """Restored when the block begins, sent when it ends, also by an error."""
        self._store.sweep()
        self._restore()
        try:
            yield self
        except BaseException as error:
            try:
                self.send()
                self._store.sweep()
            except KineflowError as another:
                if str(another) != str(error):
                    logger.warning("%s; the next run from this machine sends it", another)
            raise
        self.send()
        self._store.sweep()

    def tick(self) -> None:
        """One of them has changed; they are sent about every minute."""
        if time.monotonic() >= self._due:
            self.send()

    def send(self) -> None:
        """Send those that have changed now, in their order.

        Raises:
            EnvironmentProblem: it may not be written, or the transfer fails.
        """
        started = time.monotonic()
        for name in self._names:
            path = self._folder / name
            if path.is_file() and self._states.get(name) != (state := _state(path)):
                self._store.put(path, name)
                self._states[name] = state
                self._sent[name] = self._store.state(name)
        self._write_sent()
        ended = time.monotonic()
        self._due = ended + max(_EVERY_S, (ended - started) / _SHARE)

    def _restore(self) -> None:
        self._sent = self._read_sent()
        self._write_sent()
        for name in self._names:
            there = self._store.state(name)
            path = self._folder / name
            if there is None and name in self._sent:
                logger.warning("%s/%s was deleted; this run begins without it", self._store.name, name)
                path.unlink(missing_ok=True)
            elif there is not None and (there != self._sent.get(name) or not path.is_file()):
                temporary = temporary_beside(path)
                if self._store.get(name, temporary):  # else somebody has deleted it since
                    temporary.replace(path)
                    self._sent[name], self._states[name] = there, _state(path)
        self._sent = {name: state for name, state in self._sent.items() if (self._folder / name).is_file()}
        self._write_sent()

    def _read_sent(self) -> dict[str, str | None]:
        try:
            return dict(json.loads((self._folder / SENT_NAME).read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}  # then the address counts

    def _write_sent(self) -> None:
        publish(self._folder / SENT_NAME, json.dumps(self._sent).encode())


Records = SentRecords | NoRecords
"""What keeps them."""


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
