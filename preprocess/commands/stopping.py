"""How a command is asked to stop: Ctrl-C, or a request to terminate."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from preprocess.console import sigterm_interrupts


@contextmanager
def stoppable() -> Iterator[None]:
    """End this block where it is when asked to, with a line on how to go on, and the command with exit status 1.

    What is under way is dropped and its files are deleted; what was published stays.
    """
    try:
        with sigterm_interrupts():
            yield
    except KeyboardInterrupt:
        click.echo("stopped; what is done stays done, run the same command again to go on", err=True)
        sys.exit(1)
