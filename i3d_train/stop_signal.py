"""How a run is asked to stop: Ctrl-C or a request to terminate, once."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class StopSignal:
    """Turns the first Ctrl-C, or a request to terminate, into an answer to `should_stop`.

    After the first signal the handlers from before are back, so that a second one ends the process at once.

    Args:
        tell: called at the first one, in the midst of whatever goes on: no lock and no buffer is safe to use there.
    """

    def __init__(self, *, tell: Callable[[], None] = lambda: None) -> None:
        self._asked = False
        self._tell = tell

    def __call__(self) -> bool:
        """Whether the run was asked to stop."""
        return self._asked

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True
        self._restore()
        self._tell()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
