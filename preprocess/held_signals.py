"""Signals that wait: for what is starting, and for what this process starts."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals for this thread until the block ends; the processes that it starts there never hear them.

    Unlike signals that are ignored, none is lost: they are heard afterwards, here, or by a process that asks for them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
