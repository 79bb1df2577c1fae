"""Spread tasks over processes, here or on a cluster, and hand back each result.

Tasks write their output themselves and return something small; nothing is kept in Ray's object store. Ray's own
retries are off, since they would hide from the ledger that a task was tried twice.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from preprocess.config import WorkerConfig
from preprocess.errors import EnvironmentProblem, KineflowError, WorkerDied
from preprocess.ray_session import ray_session

_TRIES = 2  # a task whose worker died is tried once more
_POLL_S = 1.0  # how often progress within tasks is looked at
_NAMESPACE = "kineflow"

Item = TypeVar("Item")
Taken_co = TypeVar("Taken_co", covariant=True)
Value = TypeVar("Value")
Shared = TypeVar("Shared")
Tick = Callable[[], None]
"""Called by a task for each part of its work that is finished."""

logger = logging.getLogger(__name__)


class Supply(Protocol[Taken_co]):
    """Where work comes from when a sequence is not enough: items that wait for their turn, or come back."""

    def take(self) -> Taken_co | None:
        """The next item that may be started now; None when there is none now."""

    def wait_s(self) -> float | None:
        """Seconds until `take` is worth another call; None when nothing is left to take."""


def run_tasks(
    function: Callable[[Item, Tick], Value],
    items: Sequence[Item] | Supply[Item],
    *,
    config: WorkerConfig,
    on_tick: Tick = lambda: None,
) -> Iterator[tuple[Item, Value | WorkerDied]]:
    """Call `function` on every item in worker processes and yield each item with its result, as they finish.

    Args:
        function: gets an item and something to call for each part of it that is finished.
        items: picklable and small.
        config: how many workers, and where.
        on_tick: called here, in the driver, for each part finished anywhere.

    Yields:
        (item, result), or (item, WorkerDied) when the item's worker died twice.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached.
        KineflowError: as raised by `function`; ends the run.
    """
    if isinstance(items, Sequence):
        if not items:
            return
        items = InOrder(items)
    with worker_pool(config) as pool:
        yield from pool.run(function, items, on_tick=on_tick)


@contextmanager
def worker_pool(config: WorkerConfig) -> Iterator["WorkerPool"]:
    """Workers for one run after the other, and objects that all of them share.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached.
    """
    if config.workers == 0:
        yield WorkerPool(config, ray=None)
        return
    cpus = config.workers * (1 + config.helpers)
    with ray_session(config.address, cpus=cpus, gpus=config.gpus, remedy="0 workers run without Ray") as ray:
        # Ray would wait for ever, and say nothing, for a GPU that no node has
        found = int(ray.cluster_resources().get("GPU", 0))
        if found < config.gpus:
            raise EnvironmentProblem(f"{config.gpus} GPUs were asked for, the Ray cluster has {found}; ask for no more")
        yield WorkerPool(config, ray=ray)


class WorkerPool:
    """Made by `worker_pool`."""

    def __init__(self, config: WorkerConfig, *, ray: Any) -> None:
        self._config = config
        self._ray = ray

    def run(
        self,
        function: Callable[[Item, Tick], Value],
        supply: Supply[Item],
        *,
        on_tick: Tick = lambda: None,
        on_poll: Callable[[], None] = lambda: None,
        deadline_s: float | None = None,
    ) -> Iterator[tuple[Item, Value | WorkerDied]]:
        """As `run_tasks`, for a supply that may grow again while its results are read.

        Args:
            function: gets an item and something to call for each part of it that is finished.
            supply: of picklable, small items.
            on_tick: called here for each part finished anywhere.
            on_poll: called here about every second.
            deadline_s: a worker that holds one item for longer is killed, as if it had died. Without workers nothing
                can be killed.
        """
        if self._ray is None:
            return self._run_here(function, supply, on_tick=on_tick, on_poll=on_poll)
        return self._run_on_ray(function, supply, on_tick=on_tick, on_poll=on_poll, deadline_s=deadline_s)

    def shared(self, name: str, make: Callable[[], Shared]) -> Shared:
        """One object for all runs on a cluster: made by the first that asks for `name`, and kept by the cluster.

        Only its methods may be used, and they are called one at a time. A run that has its workers to itself gets a
        plain object.
        """
        if self._config.address is None:
            return make()
        actor = self._ray.remote(num_cpus=0)(_Holder).options(
            name=name,
            namespace=_NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=-1,
        )
        proxy: Any = _Proxy(self._ray, actor.remote(make))
        return proxy  # type: ignore[no-any-return]

    def _run_here(
        self, function: Callable[[Item, Tick], Value], supply: Supply[Item], *, on_tick: Tick, on_poll: Tick
    ) -> Iterator[tuple[Item, Any]]:
        while True:
            on_poll()
            item = supply.take()
            if item is not None:
                yield item, function(item, on_tick)
            elif (wait_s := supply.wait_s()) is not None:
                time.sleep(min(wait_s, _POLL_S))
            else:
                return

    def _run_on_ray(
        self,
        function: Callable[[Item, Tick], Value],
        supply: Supply[Item],
        *,
        on_tick: Tick,
        on_poll: Tick,
        deadline_s: float | None,
    ) -> Iterator[tuple[Item, Any]]:
        ray, config = self._ray, self._config
        # counts shown to the user are no reason to end a run: one that dies is replaced, and asked again
        counter = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Counter).remote()

        def call(item: Item) -> Value:
            # waits until it is counted: otherwise a result could come in before its last ticks
            return function(item, lambda: ray.get(counter.add.remote()))

        task = ray.remote(num_cpus=1 + config.helpers, num_gpus=1 if config.gpus else 0, max_retries=0)(call)
        flight: _Flight[Item] = _Flight(ray, task, deadline_s=deadline_s)
        try:
            while True:
                # no more than needed in flight: a stop loses little, and results come in about the order asked for
                while len(flight) < config.workers and (flight.start_killed() or flight.start(supply.take())):
                    pass
                on_poll()
                if len(flight) == 0:
                    wait_s = supply.wait_s()
                    if wait_s is None:
                        return
                    time.sleep(min(wait_s, _POLL_S))
                    continue
                finished = flight.wait()
                for _ in range(ray.get(counter.take.remote())):
                    on_tick()
                yield from flight.results(finished)
        finally:
            flight.cancel()


class _Flight(Generic[Item]):
    """The tasks that workers hold."""

    def __init__(self, ray: Any, task: Any, *, deadline_s: float | None) -> None:
        self._ray = ray
        self._task = task
        self._deadline_s = deadline_s
        self._running: dict[Any, _Running[Item]] = {}
        self._killed: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, item: Item | None, *, tries: int = 1) -> bool:
        """Hand an item, if there is one, to a worker."""
        if item is None:
            return False
        self._running[self._task.remote(item)] = _Running(item, tries=tries)
        return True

    def start_killed(self) -> bool:
        """Hand out again an item whose worker died, if there is one."""
        return self.start(self._killed.popleft() if self._killed else None, tries=2)

    def wait(self) -> list[Any]:
        """References of what is finished, after a second at the latest; tasks past their deadline are killed."""
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_POLL_S)
        for reference, run in self._running.items():
            if self._deadline_s is not None and not run.is_late and run.seconds > self._deadline_s:
                run.is_late = True
                self._ray.cancel(reference, force=True)
        return list(finished)

    def results(self, finished: Iterable[Any]) -> Iterator[tuple[Item, Any]]:
        """What came out of finished tasks; one whose worker died the first time is kept for another try instead."""
        for reference in finished:
            run = self._running.pop(reference)
            result = _result(self._ray, reference, self._deadline_s if run.is_late else None)
            if isinstance(result, WorkerDied) and run.tries < _TRIES:
                logger.warning("trying a task again: %s", result)
                self._killed.append(run.item)
            else:
                yield run.item, result

    def cancel(self) -> None:
        """Kill the workers that still hold something."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)


class InOrder(Generic[Item]):
    """A sequence as a supply."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = deque(items)

    def take(self) -> Item | None:
        """The next one."""
        return self._items.popleft() if self._items else None

    def add(self, item: Item) -> None:
        """One more, after the others."""
        self._items.append(item)

    def wait_s(self) -> float | None:
        """None after the last one."""
        return 0.0 if self._items else None


class _Running(Generic[Item]):
    """An item that a worker holds."""

    def __init__(self, item: Item, *, tries: int) -> None:
        self.item = item
        self.tries = tries
        self.is_late = False
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since


class _Holder:
    """The actor behind `WorkerPool.shared`."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._held = make()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._held, method)(*arguments, **options)


class _Proxy:
    """Calls the methods of an object in an actor as if it were here."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._ray.get(self._actor.call.remote(method, *arguments, **options))


def _result(ray: Any, reference: Any, passed_s: float | None) -> Any:
    died = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    try:
        return ray.get(reference)
    except (*died, ray.exceptions.TaskCancelledError) as error:
        if passed_s is not None:
            return WorkerDied(f"its worker process was killed after {passed_s:g} s without an answer")
        return WorkerDied(f"its worker process died ({type(error).__name__})")
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, KineflowError):
            raise error.cause from error
        raise


class _Counter:
    """Counts the ticks of all workers."""

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        """One more."""
        self._count += 1

    def take(self) -> int:
        """How many since the last call."""
        count, self._count = self._count, 0
        return count
