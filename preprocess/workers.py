"""The one place that imports ray: spread tasks over processes, here or on a cluster, and hand back each result.

Tasks write their output themselves and return something small; nothing is kept in Ray's object store. Ray's own
retries are off, since they would hide from the ledger that a task was tried twice.
"""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from preprocess.config import WorkerConfig
from preprocess.errors import EnvironmentProblem, KineflowError, WorkerDied

OBJECT_STORE_BYTES = 512 << 20
_TRIES = 2  # a task whose worker died is tried once more
_KNOCK_S = 10.0
_POLL_S = 1.0  # how often progress within tasks is looked at

Item = TypeVar("Item")
Value = TypeVar("Value")
Tick = Callable[[], None]
"""Called by a task for each part of its work that is finished."""

logger = logging.getLogger(__name__)


def run_tasks(
    function: Callable[[Item, Tick], Value],
    items: Sequence[Item],
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
    if config.workers == 0 or not items:
        for item in items:
            yield item, function(item, on_tick)
        return
    with _ray(config) as ray:
        yield from _run_on_ray(ray, function, items, config=config, on_tick=on_tick)


def _run_on_ray(
    ray: Any, function: Callable[[Item, Tick], Value], items: Sequence[Item], *, config: WorkerConfig, on_tick: Tick
) -> Iterator[tuple[Item, Any]]:
    counter = ray.remote(num_cpus=0)(_Counter).remote()

    def call(item: Item) -> Value:
        # waits until it is counted: otherwise a result could come in before its last ticks
        return function(item, lambda: ray.get(counter.add.remote()))

    task = ray.remote(num_cpus=1 + config.helpers, num_gpus=1 if config.gpus else 0, max_retries=0)(call)
    waiting = [(item, 1) for item in reversed(items)]
    running: dict[Any, tuple[Item, int]] = {}
    try:
        while waiting or running:
            # no more than needed in flight: a stop loses little, and results come in about the order asked for
            while waiting and len(running) < config.workers:
                item, tries = waiting.pop()
                running[task.remote(item)] = item, tries
            finished, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
            for _ in range(ray.get(counter.take.remote())):
                on_tick()
            for reference in finished:
                item, tries = running.pop(reference)
                result = _result(ray, reference)
                if isinstance(result, WorkerDied) and tries < _TRIES:
                    logger.warning("trying a task again: %s", result)
                    waiting.append((item, tries + 1))
                else:
                    yield item, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _result(ray: Any, reference: Any) -> Any:
    died = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    try:
        return ray.get(reference)
    except died as error:
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


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


@contextmanager
def _ray(config: WorkerConfig) -> Iterator[Any]:
    import ray

    # a local cluster switches its token check on by itself, which is what we want, and says so on every start
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": logging.ERROR,
    }
    try:
        if config.address is None:
            # "local", not None: RAY_ADDRESS in the environment must not send this run to somebody's cluster
            ray.init(
                address="local",
                num_cpus=config.workers * (1 + config.helpers),
                num_gpus=config.gpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            _knock(config.address)
            ray.init(address=config.address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = "a local Ray" if config.address is None else f"the Ray cluster at {config.address}"
        raise EnvironmentProblem(f"cannot start or reach {where}: {error}; 0 workers run without Ray") from error
    try:
        # Ray would wait for ever, and say nothing, for a GPU that no node has
        found = int(ray.cluster_resources().get("GPU", 0))
        if found < config.gpus:
            raise EnvironmentProblem(f"{config.gpus} GPUs were asked for, the Ray cluster has {found}; ask for no more")
        yield ray
    finally:
        ray.shutdown()
