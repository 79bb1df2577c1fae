"""How a command is asked to stop: Ctrl-C, or a request to terminate."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def stoppable() -> Iterator[None]:
    """End this block where it is when asked to, with a line on how to go on, and the command with exit status 1.

    What is under way is dropped and its files are deleted; what was published stays. SIGTERM, which would end the
    process on the spot, is taken for Ctrl-C; another one during the cleaning up cuts that short.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped; what is done stays done, run the same command again to go on", err=True)
        sys.exit(1)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
