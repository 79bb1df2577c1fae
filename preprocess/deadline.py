"""An end to work that hangs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_S = 1.0  # the alarm repeats: a destructor that happens to run swallows what is raised in it


class DeadlinePassed(BaseException):
    """Raised where the work is when its time is up; no `except Exception` on the way may take it for its own."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlinePassed` in this block after so many seconds, also out of a blocking read.

    By SIGALRM, which only the main thread gets; in another thread the block runs without a limit. C code that never
    returns to Python is not ended by this: that takes killing the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_it(_number: int, _frame: FrameType | None) -> None:
        raise DeadlinePassed(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # once more: an alarm may come in before the line above is reached, and its next one after the block
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
