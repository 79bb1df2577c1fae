"""Shows a run's events: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from i3d_train.events import Event, RateDropped, Saved, Scored, Started, StepDone, Validated

_LINE_EVERY_S = 10.0


class ShowProgress:
    """An observer that writes to `console`; use it as a context manager.

    Args:
        console: standard error of a command, so that results on standard output stay alone.
        opening: line to say when a run starts, and not when it is refused.
    """

    def __init__(self, console: Console, *, opening: str = "") -> None:
        self._console, self._opening = console, opening
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line_s = -_LINE_EVERY_S

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Started():
                # bars of workers that were lost
                self._forget("training")
                self._forget("validation")
                if self._opening:
                    self._say(self._opening)
                many = f"{event.processes} processes, {event.clips_per_step} clips a step, " * (event.processes > 1)
                self._say(
                    f"{event.clips} clips of {event.num_classes} classes, {event.parameters:,} parameters, "
                    f"{event.device} {event.precision}, {many}steps {event.step + 1} to {event.steps}"
                )
            case StepDone():
                self._step(event)
            case Scored():
                self._move("validation", event.done, event.total, "clips")
            case Validated():
                self._forget("validation")
                self._say(
                    f"step {event.step}: validation loss {event.loss:.4f}, top-1 {event.top1:.4f}, "
                    f"top-5 {event.top5:.4f} on {event.clips} clips"
                )
            case RateDropped():
                self._say(f"step {event.step}: the validation loss no longer falls, lr {event.lr:g} from here")
            case Saved():
                self._say(f"step {event.step}: wrote {event.path}")

    def _step(self, done: StepDone) -> None:
        numbers = f"loss {done.loss:.4f}  {done.clips_per_s:.1f} clips/s  {done.wait_share:.0%} waiting for data"
        self._move("training", done.step, done.steps, numbers)
        due = time.monotonic() - self._last_line_s >= _LINE_EVERY_S or done.step == done.steps
        if not self._console.is_terminal and due:
            self._last_line_s = time.monotonic()
            self._say(f"step {done.step}/{done.steps}: {numbers}  lr {done.lr:g}")

    def _move(self, name: str, done: int, total: int, numbers: str) -> None:
        if name not in self._tasks:
            # starting at `done` keeps a resumed run's earlier steps out of the estimate of the time left
            self._tasks[name] = self._bar.add_task(name, total=total, completed=done, numbers=numbers)
        self._bar.update(self._tasks[name], completed=done, total=total, numbers=numbers)

    def _forget(self, name: str) -> None:
        if name in self._tasks:
            self._bar.remove_task(self._tasks.pop(name))

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
