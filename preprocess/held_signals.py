"""Signals that wait: for what is starting, and for what this process starts."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals for this thread until the block ends, and for the processes that it starts there.

    Unlike those that are ignored none is lost: this thread hears them afterwards, such a process when it unblocks them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
