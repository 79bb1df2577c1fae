"""What all command lines share: errors as one paragraph and an exit status, lines that are safe, places as typed."""

import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from preprocess.address import is_address, shown
from preprocess.errors import EnvironmentProblem, KineflowError
from preprocess.exact_number import exact_number


class Command(click.Command):
    """A command that ends a `KineflowError` with its message and exit status, never a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line; one whose output finds no room ends likewise."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            sys.stdout = io.StringIO()  # the end of the process would write what is left once more, and say so
            click.echo(
                f"Error: {error.strerror}, perhaps where the output goes; free some, then run it again", err=True
            )
            sys.exit(EnvironmentProblem.exit_status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, or of a group the chosen command."""
        try:
            return super().invoke(ctx)
        except KineflowError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            ctx.exit(error.exit_status)


class CommandGroup(Command, click.Group):
    """A group whose commands end in the same way."""


class LocalPath(click.Path):
    """A file or folder of this machine: an address would become a folder `s3:` here, or a file that is not there."""

    def __init__(self, *, remedy: str = "copy or mount it, or copy there what is written here", **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self.remedy = remedy

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path`."""
        _check_place(value, self, param, ctx)
        if is_address(value):
            self.fail(f"{shown(value)} is an address, not a place on this machine; {self.remedy}", param, ctx)
        return super().convert(value, param, ctx)


class PlaceType(click.Path):
    """A folder, or an address, which stays as it is."""

    name = "folder or address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path`."""
        _check_place(value, self, param, ctx)
        return value if is_address(value) else super().convert(value, param, ctx)


def fraction(text: str) -> Fraction:
    """The type of an option, see `exact_number`."""
    try:
        return exact_number(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check_place(value: Any, kind: click.Path, param: click.Parameter | None, ctx: click.Context | None) -> None:
    """Refuse a name that pathlib would take for the folder that one is in, or that would make it raise when it is asked
    whether something is there: below a folder that this user may not enter, or too long.
    """
    if value == "":  # as of `--out "$OUT"` without OUT
        kind.fail("'' is empty; name a place, . for the folder that you are in", param, ctx)
    if is_address(value):
        return
    try:
        may_enter = not Path(value).is_dir() or os.access(value, os.X_OK)
    except OSError as error:
        kind.fail(f"{shown(value)} cannot be looked at: {error.strerror}; see to the folders above it", param, ctx)
    if not may_enter:  # as after `chmod -R a+r`
        kind.fail(f"{shown(value)} may not be entered by this user; give it the mode a+x", param, ctx)


def printable(text: str) -> str:
    r"""`text` with control characters escaped, so that a title from the internet cannot drive the terminal.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Take SIGTERM, which would end the process on the spot, for Ctrl-C, so that files under way are deleted.

    Another one during the cleaning up cuts that short.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


def show_log(verbose: bool) -> None:
    """Send the library's log to standard error: warnings, or everything with `verbose`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class _OneLine(logging.Formatter):
    """Log lines quote what came from lists, files and sites: none may drive the terminal or look like another line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 as the base class calls it
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, exc_info: Any) -> str:  # noqa: N802 as the base class calls it
        return printable(super().formatException(exc_info))
