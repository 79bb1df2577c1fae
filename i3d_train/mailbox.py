"""The actor between the workers of Ray Train and their driver.

In a module of its own, which needs nothing but the standard library: the process of the actor imports it, and would
otherwise import PyTorch, for seconds and some hundred MB.
"""

import logging

from i3d_train.events import Event, TrainSummary
from preprocess.errors import KineflowError

Letter = Event | logging.LogRecord | KineflowError | TrainSummary
"""What workers send."""


class Mailbox:
    """Letters to the driver, and its wish to stop."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._stop = False

    def put(self, letter: Letter) -> None:
        """From a worker."""
        self._letters.append(letter)

    def take(self) -> list[Letter]:
        """To the driver: all since the last call."""
        letters, self._letters = self._letters, []
        return letters

    def ask_to_stop(self) -> None:
        """From the driver."""
        self._stop = True

    def stop_asked(self) -> bool:
        """To a worker."""
        return self._stop
