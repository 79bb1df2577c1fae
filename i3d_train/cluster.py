"""A run in the workers of Ray Train, here or on a cluster, which may lose some of them.

A run that lost a worker goes on from its last checkpoint, to the same losses, once there is a place for each worker
again: on a spare node, or on one that an autoscaler, an operator or a person brings back.
"""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from i3d_train.attempts import train_in_attempts
from i3d_train.config import TrainConfig
from i3d_train.events import Observer, TrainSummary
from i3d_train.ray_fit import POLL_S, STORAGE_NAME, fit
from preprocess.address import is_address
from preprocess.errors import EnvironmentProblem
from preprocess.nodes import require, terms
from preprocess.paths import exclusive, make_folder
from preprocess.ray_session import ray_session
from preprocess.shards.index import INDEX_NAME

logger = logging.getLogger(__name__)

PATIENCE_S = 900.0
"""How long a run that lost a worker waits for what it needs: clouds take minutes for a machine with a GPU."""
_QUIET_S = 5.0
"""What Ray may take to free the places of dead workers, of which nobody needs to hear."""


def train_on_ray(config: TrainConfig, *, observe: Observer, should_stop: Callable[[], bool]) -> TrainSummary:
    """Train as `i3d_train.train.train`, in `config.workers` processes.

    Args:
        config: its folders have to be reachable under the same paths from all nodes of the cluster.
        observe: called with each event, from this thread. `Started` comes again where the run lost a worker, and after
            it the events of the steps since the checkpoint that it goes on from.
        should_stop: asked several times a second; True ends the run with a checkpoint to resume from.

    Raises:
        EnvironmentProblem: Ray or Ray Train is not there, cannot be reached or has too few CPUs or GPUs; a node has
            another version of kineflow or does not see the folders; or the run lost workers and cannot go on, see
            `i3d_train.attempts.train_in_attempts`.
        KineflowError: as raised by the workers.
    """
    stopped = _Asked(should_stop)
    with _ray(config) as ray:
        kind = _check_resources(ray, config)
        make_folder(config.out)
        _check_nodes(ray, config)

        def attempt(now: TrainConfig) -> TrainSummary:
            return fit(ray, now, on_gpus=kind == "GPU", observe=observe, should_stop=stopped)

        def lacking() -> str:
            with _places(ray, config.workers, kind) as unplaced:
                missing = wait_for(lambda: unplaced() or held_by(config.out), patience_s=PATIENCE_S, stopped=stopped)
            if not missing and not stopped():
                _check_nodes(ray, config)  # one may have joined meanwhile
            return missing

        with _places(ray, config.workers, kind) as unplaced:
            # others may use the cluster, and have been there first
            wait_for(unplaced, patience_s=math.inf, stopped=stopped)
            if missing := unplaced():
                raise EnvironmentProblem(f"{missing}, and the run was asked to stop; nothing was trained")
        return train_in_attempts(_absolute(config, kind), attempt=attempt, lacking=lacking, stopped=stopped)


def wait_for(lacking: Callable[[], str], *, patience_s: float, stopped: Callable[[], bool]) -> str:
    """Wait until nothing is lacking.

    Args:
        lacking: what is lacking now; empty when nothing is.
        patience_s: how long.
        stopped: True ends the waiting.

    Returns:
        What is lacking still, and how long that was waited for; empty when nothing is, or after `stopped`.
    """
    since, is_told = time.monotonic(), False
    while (missing := lacking()) and not stopped():
        waited_s = time.monotonic() - since
        if waited_s >= patience_s:
            return f"{missing}, for {patience_s:g} s now"
        if waited_s >= _QUIET_S and not is_told:
            logger.warning("waiting%s: %s", f" up to {patience_s:g} s" * math.isfinite(patience_s), missing)
            is_told = True
        time.sleep(POLL_S)
    return ""


def held_by(folder: Path) -> str:
    """Which process holds the folder of a run; empty when none does."""
    try:
        # on some network disks a lock outlives its process for minutes, when the machine is gone as well
        with exclusive(folder):
            return ""
    except EnvironmentProblem as error:
        return str(error)


class _Asked:
    """Whether the run was asked to stop, ever."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop, self._was_asked = should_stop, False

    def __call__(self) -> bool:
        self._was_asked = self._was_asked or self._should_stop()
        return self._was_asked


@contextmanager
def _places(ray: Any, workers: int, kind: str) -> Iterator[Callable[[], str]]:
    """A CPU or GPU for each worker, kept for the time of a block from when all are there; what tells what is lacking.

    They are asked for as Ray Train will ask: an autoscaler starts nodes for nothing else.
    """
    group = ray.util.placement_group([{kind: 1}] * workers)
    ready = group.ready()

    def unplaced() -> str:
        found, _ = ray.wait([ready], timeout=0)
        return "" if found else f"--workers {workers} need a free {kind} each, Ray has {_count(ray, kind)} in all"

    try:
        yield unplaced
    finally:
        ray.util.remove_placement_group(group)


def _absolute(config: TrainConfig, kind: str) -> TrainConfig:
    # Ray Train changes the workers' folder
    paths = {name: getattr(config, name) for name in ("shards", "out", "weights", "inflate", "clips", "cache")}
    absolute: dict[str, Any] = {name: path.absolute() for name, path in paths.items() if isinstance(path, Path)}
    return replace(config, device="cuda" if kind == "GPU" else "cpu", **absolute)


def _check_resources(ray: Any, config: TrainConfig) -> str:
    """`GPU` or `CPU`, of which each worker gets one. Ray would wait, and say nothing, for what no node has."""
    kind = "GPU" if config.device == "cuda" or (config.device == "auto" and _count(ray, "GPU") > 0) else "CPU"
    found = _count(ray, kind)
    if found < config.workers:
        raise EnvironmentProblem(
            f"--workers {config.workers} need a {kind} each, Ray has {found}; "
            f"use {f'--workers {found} or ' * (found > 0)}a larger cluster{', or --device cpu' * (kind == 'GPU')}"
        )
    return kind


def _count(ray: Any, kind: str) -> int:
    return int(ray.cluster_resources().get(kind, 0))


def _check_nodes(ray: Any, config: TrainConfig) -> None:
    if config.address is None:
        return
    reads = [Path(config.shards) / INDEX_NAME] if not is_address(config.shards) else []
    with terms(folders=[config.out], files=reads) as wanted:
        require(ray, wanted)


@contextmanager
def _ray(config: TrainConfig) -> Iterator[Any]:
    try:
        import ray.train  # noqa: F401 an extra, looked for before Ray is started
    except ImportError as error:
        raise EnvironmentProblem(
            f"--workers {config.workers}: Ray Train cannot be imported ({error}); pip install 'kineflow[ray-train]', "
            f"or start the processes with torchrun"
        ) from error
    try:
        remedy = "check the address, or leave --workers out"
        with ray_session(config.address, cpus=config.workers, gpus=None, remedy=remedy) as session:
            yield session
    finally:
        storage = config.out / STORAGE_NAME
        if storage.exists() and not held_by(config.out):  # else it is of the run that keeps this one out
            shutil.rmtree(storage, ignore_errors=True)
