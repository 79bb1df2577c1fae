"""How far a command is: a bar on a terminal, a line now and then in a log file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import click
from rich import progress

from preprocess.console import printable

LOG_EVERY_S = 30.0
"""Seconds between two lines where there is no terminal."""


class ShowProgress:
    """Counts finished parts.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._done = 0
        self._logged_at = time.monotonic()
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn(unit),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(unit, total=None)

    @contextmanager
    def shown(self) -> Iterator[Self]:
        """The bar, on a terminal, is there until the block ends."""
        if not self._bar.console.is_terminal:
            yield self
            return
        with self._bar:
            yield self

    def step(self, total: int, *, note: str = "") -> None:
        """One more is finished, of `total`; `note` says what went wrong with it."""
        self._done += 1
        self._bar.update(self._task, total=total, completed=self._done)
        if note:
            self.say(note)
        now = time.monotonic()
        if not self._bar.console.is_terminal and now - self._logged_at > LOG_EVERY_S:
            click.echo(f"{self._done} of {total} {self._unit}")
            self._logged_at = now

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
