"""Spread tasks over processes, here or on a cluster, and hand back each result.

Tasks write their output themselves and return something small; nothing is kept in Ray's object store. Ray's own
retries are off, since they would hide from the ledger that a task was tried twice.

A worker whose GPU failed ends, and its item is tried again by a fresh one. A fresh one whose GPU does not answer keeps
it, so that Ray gives it to nobody else, and hands its item back.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from preprocess.config import WorkerConfig
from preprocess.errors import DeviceDead, DeviceLost, EnvironmentProblem, WorkerDied
from preprocess.flight import POLL_S, Flight
from preprocess.nodes import Terms, terms
from preprocess.ray_session import ray_session

_DEVICE_LOST = 70  # exit status of a worker whose GPU failed
_NAMESPACE = "kineflow"

Item = TypeVar("Item")
Taken_co = TypeVar("Taken_co", covariant=True)
Value = TypeVar("Value")
Shared = TypeVar("Shared")

Tick = Callable[[Any], None]
"""Called by a task for each part of its work that is finished, with what the driver is told of it: picklable, small."""

logger = logging.getLogger(__name__)


class Supply(Protocol[Taken_co]):
    """Where work comes from when a sequence is not enough: items that wait for their turn, or come back."""

    def take(self) -> Taken_co | None:
        """The next item that may be started now; None when there is none now."""

    def wait_s(self) -> float | None:
        """Seconds until `take` is worth another call; None when nothing is left to take."""


def run_tasks(
    function: Callable[[Item, Tick], Value],
    items: Sequence[Item],
    *,
    config: WorkerConfig,
    on_tick: Callable[[Any], None] = lambda told: None,
    writes: Sequence[Path] = (),
    reads: Sequence[Path] = (),
) -> Iterator[tuple[Item, Value | WorkerDied]]:
    """Call `function` on every item in worker processes and yield each item with its result, as they finish.

    Args:
        function: gets an item and something to call for each part of it that is finished.
        items: picklable and small.
        config: how many workers, and where.
        on_tick: called here, in the driver, for each part finished anywhere, with what was told of it.
        writes: see `worker_pool`.
        reads: likewise.

    Yields:
        (item, result), or (item, WorkerDied) when the item's worker died twice.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached.
        KineflowError: as raised by `function`; ends the run.
    """
    if items:
        with worker_pool(config, writes=writes, reads=reads) as pool:
            yield from pool.run(function, InOrder(items), on_tick=on_tick)


@contextmanager
def worker_pool(
    config: WorkerConfig, *, writes: Sequence[Path] = (), reads: Sequence[Path] = ()
) -> Iterator["WorkerPool"]:
    """Workers for one run after the other, and objects that all of them share.

    Args:
        config: how many, and where.
        writes: folders that tasks write to, which all nodes of a cluster have to share.
        reads: files that tasks read, or one of each folder that they read.

    Raises:
        EnvironmentProblem: Ray cannot be started or reached; or a node of the cluster has another version of kineflow,
            or does not see `writes` and `reads`.
    """
    if config.workers == 0:
        yield WorkerPool(config, ray=None)
        return
    cpus = config.workers * (1 + config.helpers)
    remedy = "with 0 workers (--workers 0, --cpus 0) it goes without Ray"
    with (
        nullcontext() if config.address is None else terms(folders=writes, files=reads) as wanted,
        ray_session(config.address, cpus=cpus, gpus=config.gpus, remedy=remedy, wanted=wanted) as ray,
    ):
        # Ray would wait for ever, and say nothing, for a GPU that no node has
        found = int(ray.cluster_resources().get("GPU", 0))
        if found < config.gpus:
            raise EnvironmentProblem(f"{config.gpus} GPUs were asked for, the Ray cluster has {found}; ask for no more")
        if config.gpus and config.address:  # nor for more cores than a node has beside its GPUs
            config = replace(
                config, helpers=min(config.helpers, _cores_beside_a_gpu(ray.nodes(), gpus=config.gpus) - 1)
            )
        yield WorkerPool(config, ray=ray, wanted=wanted)


def _cores_beside_a_gpu(nodes: Sequence[dict[str, Any]], *, gpus: int) -> int:
    """CPUs for each GPU, on every node that has at least one for each.

    Raises:
        EnvironmentProblem: such nodes have fewer than `gpus` GPUs.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU")]
    shares = [(int(each["GPU"]), int(each.get("CPU", 0) // each["GPU"])) for each in resources]
    usable = [(count, share) for count, share in shares if share]
    if (found := sum(count for count, _ in usable)) < gpus:
        raise EnvironmentProblem(
            f"{gpus} GPUs were asked for, {found} of the Ray cluster's are on nodes with a CPU for each; give nodes "
            "--num-cpus of at least as many, or ask for no more"
        )
    return min(share for _, share in usable)


class WorkerPool:
    """Made by `worker_pool`."""

    def __init__(self, config: WorkerConfig, *, ray: Any, wanted: Terms | None = None) -> None:
        self.helpers = config.helpers
        """Threads that a task may have beside its own."""
        self._config = config
        self._ray = ray
        self._wanted = wanted

    def run(
        self,
        function: Callable[[Item, Tick], Value],
        supply: Supply[Item],
        *,
        on_tick: Callable[[Any], None] = lambda told: None,
        on_poll: Callable[[], None] = lambda: None,
        on_lost: Callable[[Item], None] = lambda item: None,
        deadline_s: float | None = None,
    ) -> Iterator[tuple[Item, Value | WorkerDied]]:
        """As `run_tasks`, for a supply that may grow again while its results are read.

        Args:
            function: gets an item and something to call for each part of it that is finished.
            supply: of picklable, small items.
            on_tick: called here for each part finished anywhere, with what was told of it.
            on_poll: called here about every second.
            on_lost: called here with an item whose node was lost, before another worker gets it.
            deadline_s: a worker that holds one item for longer is killed, as if it had died. Without workers nothing
                can be killed.
        """
        if self._ray is None:
            return self._run_here(function, supply, on_tick=on_tick, on_poll=on_poll)
        return self._run_on_ray(
            function, supply, on_tick=on_tick, on_poll=on_poll, on_lost=on_lost, deadline_s=deadline_s
        )

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
        return cast(Shared, _Proxy(self._ray, actor.remote(make)))

    def hosted(self, make: Callable[[], Shared]) -> Shared:
        """One object for this run, which its tasks may be given too; otherwise as `shared`.

        It lives beside the driver: a node that is lost does not take it along. One that dies is made anew.
        """
        if self._ray is None:
            return make()
        here = self._ray.get_runtime_context().get_node_id()
        beside = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        actor = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Holder)
        return cast(Shared, _Proxy(self._ray, actor.options(scheduling_strategy=beside).remote(make)))

    def _run_here(
        self,
        function: Callable[[Item, Tick], Value],
        supply: Supply[Item],
        *,
        on_tick: Callable[[Any], None],
        on_poll: Callable[[], None],
    ) -> Iterator[tuple[Item, Any]]:
        while True:
            on_poll()
            item = supply.take()
            if item is not None:
                yield item, function(item, on_tick)
            elif (wait_s := supply.wait_s()) is not None:
                time.sleep(min(wait_s, POLL_S))
            else:
                return

    def _run_on_ray(
        self,
        function: Callable[[Item, Tick], Value],
        supply: Supply[Item],
        *,
        on_tick: Callable[[Any], None],
        on_poll: Callable[[], None],
        on_lost: Callable[[Item], None],
        deadline_s: float | None,
    ) -> Iterator[tuple[Item, Any]]:
        ray, config = self._ray, self._config
        # counts shown to the user are no reason to end a run: one that dies is replaced, and asked again
        board = self.hosted(_Board)
        task = ray.remote(num_cpus=1 + config.helpers, num_gpus=1 if config.gpus else 0, max_retries=0)(
            _called(ray, function, board=board, wanted=self._wanted)
        )
        flight: Flight[Item] = Flight(ray, task, deadline_s=deadline_s, on_lost=on_lost)
        try:
            while True:
                # no more than needed in flight: a stop loses little, and results come in about the order asked for
                room = config.workers - flight.kept
                while len(flight) < room and (flight.start_again() or flight.start(supply.take())):
                    pass
                on_poll()
                if len(flight) == 0:
                    wait_s = supply.wait_s()
                    if wait_s is None:
                        return
                    time.sleep(min(wait_s, POLL_S))
                    continue
                finished = flight.wait()
                ticks, begun, handed_back = board.take()
                for told in ticks:
                    on_tick(told)
                flight.began(begun)
                flight.keep(handed_back, workers=config.workers)
                yield from flight.results(finished)
        finally:
            flight.cancel()


def _called(
    ray: Any, function: Callable[[Item, Tick], Value], *, board: "_Board", wanted: Terms | None
) -> Callable[[Item], Value]:
    """What a worker does with an item."""

    def call(item: Item) -> Value:
        if wanted is not None and (unmet := wanted.unmet()):  # of a node that joined later
            raise EnvironmentProblem(f"node {ray.get_runtime_context().get_node_id()[:8]} {unmet}")
        board.begin(ray.get_runtime_context().get_task_id())
        try:
            # waits until it is counted: otherwise a result could come in before its last ticks
            return function(item, board.add)
        except DeviceLost:
            logger.exception("this worker ends")
            os._exit(_DEVICE_LOST)
        except DeviceDead as error:
            context = ray.get_runtime_context()
            reason = f"node {context.get_node_id()[:8]}: {error}"
            while True:  # until the run is over; said again, since the board may die and forget
                board.hand_back(context.get_task_id(), reason)
                time.sleep(5)

    return call


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


class _Holder:
    """The actor behind `WorkerPool.shared` and `WorkerPool.hosted`."""

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
        if method.startswith("_"):  # asked for when a copy is made for a task
            raise AttributeError(method)
        return lambda *arguments, **options: self._ray.get(self._actor.call.remote(method, *arguments, **options))


class _Board:
    """Where tasks leave word while they go on."""

    def __init__(self) -> None:
        self._ticks: list[Any] = []
        self._begun: set[str] = set()
        self._handed_back: dict[str, str] = {}

    def begin(self, task_id: str) -> None:
        """A task has its worker."""
        self._begun.add(task_id)

    def add(self, told: Any) -> None:
        """One tick more, and what was told with it."""
        self._ticks.append(told)

    def hand_back(self, task_id: str, reason: str) -> None:
        """A task cannot do its item and will not end."""
        self._handed_back[task_id] = reason

    def take(self) -> tuple[list[Any], set[str], dict[str, str]]:
        """Ticks, tasks that began, and those handed back, since the last call."""
        taken = self._ticks, self._begun, self._handed_back
        self._ticks, self._begun, self._handed_back = [], set(), {}
        return taken
