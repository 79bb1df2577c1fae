"""The tasks that workers hold at one time, and what becomes of those whose worker, node or GPU is lost."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from preprocess.errors import EnvironmentProblem, KineflowError, WorkerDied

POLL_S = 1.0
"""How long the driver waits for a task before it looks after other things."""
_TRIES = 2  # a task whose worker died is tried once more
_LOSSES = 5  # that its node was lost is not its fault, unless it happens again and again

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


class Flight(Generic[Item]):
    """The tasks that workers hold.

    Args:
        ray: the module, connected.
        task: a remote function of an item.
        deadline_s: a task that takes longer, counted from when it began, is killed.
        on_lost: called with an item whose node was lost, before another worker gets it: to forget what the dead one
            wrote down against it.
    """

    def __init__(self, ray: Any, task: Any, *, deadline_s: float | None, on_lost: Callable[[Item], None]) -> None:
        self._ray = ray
        self._task = task
        self._deadline_s = deadline_s
        self._on_lost = on_lost
        self._running: dict[Any, _Running[Item]] = {}
        self._again: deque[_Running[Item]] = deque()
        self._keeping: list[Any] = []

    @property
    def kept(self) -> int:
        """Workers that do no more than keep a dead GPU from others."""
        return len(self._keeping)

    def __len__(self) -> int:
        return len(self._running)

    def start(self, item: Item | None) -> bool:
        """Hand an item, if there is one, to a worker."""
        if item is None:
            return False
        self._running[self._task.remote(item)] = _Running(item)
        return True

    def start_again(self) -> bool:
        """Hand out an item whose worker died, or whose node or GPU is lost, if there is one."""
        if not self._again:
            return False
        run = self._again.popleft()
        self._running[self._task.remote(run.item)] = _Running(run.item, tries=run.tries, losses=run.losses)
        return True

    def keep(self, handed_back: Mapping[str, str], *, workers: int) -> None:
        """Take back the items of tasks that found a dead GPU, which is not the items' fault; task id to reason.

        Raises:
            EnvironmentProblem: none of the `workers` has a GPU that answers.
        """
        for reference in [each for each in self._running if each.task_id().hex() in handed_back]:
            run, reason = self._running.pop(reference), handed_back[reference.task_id().hex()]
            self._again.append(run)
            self._keeping.append(reference)
            if self.kept == workers:
                raise EnvironmentProblem(f"no GPU answers any more; the last one, {reason}; what is finished stays")
            logger.warning("going on without a GPU: %s", reason)

    def began(self, task_ids: Container[str]) -> None:
        """These tasks have their worker: those that a busy cluster has no room for yet are not late."""
        for reference, run in self._running.items():
            if reference.task_id().hex() in task_ids:
                run.since = time.monotonic()

    def wait(self) -> list[Any]:
        """References of what is finished, after a second at the latest; tasks past their deadline are killed."""
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
        for reference, run in self._running.items():
            if self._deadline_s is not None and not run.is_late and time.monotonic() - run.since > self._deadline_s:
                run.is_late = True
                self._ray.cancel(reference, force=True)
        return list(finished)

    def results(self, finished: Iterable[Any]) -> Iterator[tuple[Item, Any]]:
        """What came out of finished tasks; one whose worker died the first time is kept for another try instead."""
        for reference in finished:
            run = self._running.pop(reference, None)
            if run is None:  # handed back, then its worker died too
                continue
            result = _result(self._ray, reference, self._deadline_s if run.is_late else None)
            if isinstance(result, _NodeLost) and run.losses < _LOSSES:
                logger.warning("going on without a node: %s", result)
                self._on_lost(run.item)
                run.losses += 1
                self._again.append(run)
            elif isinstance(result, WorkerDied) and run.tries < _TRIES:
                logger.warning("trying a task again: %s", result)
                run.tries += 1
                self._again.append(run)
            else:
                yield run.item, result

    def cancel(self) -> None:
        """Kill the workers that still hold something."""
        for reference in (*self._running, *self._keeping):
            self._ray.cancel(reference, force=True)


@dataclass
class _Running(Generic[Item]):
    """An item that a worker holds."""

    item: Item
    tries: int = 1
    losses: int = 0
    since: float = math.inf
    """When it began; not yet, at first."""
    is_late: bool = False


class _NodeLost(WorkerDied):
    """Its whole node went away."""


def _result(ray: Any, reference: Any, passed_s: float | None) -> Any:
    died = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.TaskCancelledError)
    try:
        return ray.get(reference)
    except (*died, ray.exceptions.NodeDiedError) as error:
        if passed_s is not None:
            return WorkerDied(f"its worker process was killed after {passed_s:g} s without an answer")
        kind = _NodeLost if isinstance(error, ray.exceptions.NodeDiedError) else WorkerDied
        return kind(f"its worker process died ({type(error).__name__})")
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, KineflowError):
            raise error.cause from error
        raise
