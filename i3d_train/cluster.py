"""A run in the workers of Ray Train, here or on a cluster; the one place of this package that imports ray.

Each worker runs the loop that one process runs. The first one's events, log and errors come back through a mailbox,
so that a caller sees the same with workers and without; nothing else goes through Ray's object store.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from i3d_train.config import TrainConfig
from i3d_train.events import Event, Observer
from i3d_train.train import TrainSummary, train
from preprocess.address import is_address
from preprocess.errors import EnvironmentProblem, KineflowError
from preprocess.nodes import terms
from preprocess.paths import make_folder
from preprocess.ray_session import ray_session
from preprocess.shards.index import INDEX_NAME

logger = logging.getLogger(__name__)

_STORAGE = ".ray"
"""Folder in that of the run where Ray Train sees whether all nodes share it; removed at the end."""
_POLL_S = 0.2
_LEAVE_S = 60.0

Letter = Event | logging.LogRecord | KineflowError | TrainSummary
"""What the first worker sends."""


def train_on_ray(config: TrainConfig, *, observe: Observer, should_stop: Callable[[], bool]) -> TrainSummary:
    """Train as `i3d_train.train.train`, in `config.workers` processes.

    Args:
        config: its folders have to be reachable under the same paths from all nodes of the cluster.
        observe: called with each event, from this thread.
        should_stop: asked several times a second; True ends the run with a checkpoint to resume from.

    Raises:
        EnvironmentProblem: Ray or Ray Train is not there, cannot be reached or has too few CPUs or GPUs; a node has
            another version of kineflow or does not see the folders; or a worker died.
        KineflowError: as raised by the workers.
    """
    make_folder(config.out)
    with _ray(config) as ray:
        on_gpus = _check_resources(ray, config)
        # beside the driver: what another node has in it goes with the node
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        mailbox = ray.remote(num_cpus=0)(_Mailbox).options(scheduling_strategy=beside).remote()
        run = _Fit(_absolute(config, on_gpus=on_gpus), mailbox, on_gpus=on_gpus)
        asked, summary, error = False, None, None
        while summary is None and error is None:
            # the last look comes after the end, when all letters are there
            ended = run.ended(_POLL_S)
            for letter in ray.get(mailbox.take.remote()):
                match letter:
                    case TrainSummary():
                        summary = letter
                    case KineflowError():
                        error = error or letter
                    case logging.LogRecord():
                        _log_here(letter)
                    case _:
                        observe(letter)
            if not asked and should_stop():
                asked = True
                mailbox.ask_to_stop.remote()
            if ended and summary is None and error is None:
                error = EnvironmentProblem(
                    f"a worker of Ray Train ended before the run did ({run.failure or 'no reason given'}); "
                    f"--resume goes on from the last checkpoint"
                )
        # Ray ends this process without a word when it is shut down under the thread
        run.ended(_LEAVE_S)
        if error is not None:
            raise error
        assert summary is not None
        return summary


class _Mailbox:
    """The actor between the first worker and the driver."""

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


class _Fit:
    """`TorchTrainer.fit`, in a thread: it blocks, and would take Ctrl-C for itself."""

    def __init__(self, config: TrainConfig, mailbox: Any, *, on_gpus: bool) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        self.failure = ""
        self._trainer = TorchTrainer(
            _work,
            train_loop_config={"config": config, "mailbox": mailbox},
            scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=on_gpus),
            # a run that failed is resumed by its own checkpoints
            run_config=RunConfig(
                name=_STORAGE, storage_path=str(config.out), failure_config=FailureConfig(max_failures=0)
            ),
        )
        self._thread = threading.Thread(target=self._run, name="ray-train", daemon=True)
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end, for so long; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from ray.exceptions import RayError
        from ray.train import TrainingFailedError

        try:
            self._trainer.fit()
        except (TrainingFailedError, RayError) as error:
            logger.info("Ray Train: %s", error)
            # a traceback, whose last line says what happened
            self.failure = str(error).strip().rpartition("\n")[2]


def _work(settings: dict[str, Any]) -> None:
    """One worker: the loop, with the driver as its audience."""
    import ray

    from i3d_train.process_group import is_first_process

    mailbox = settings["mailbox"]
    if not is_first_process():
        train(settings["config"])
        return
    logging.getLogger().addHandler(_PostLog(mailbox))

    def post(letter: Letter) -> None:
        mailbox.put.remote(letter)

    try:
        summary = train(settings["config"], observe=post, should_stop=_StopAsked(ray, mailbox))
    except KineflowError as error:
        ray.get(mailbox.put.remote(error))
        raise
    ray.get(mailbox.put.remote(summary))


class _StopAsked:
    """Whether the driver wants to stop, without waiting for its answer: the one to the question of a step ago."""

    def __init__(self, ray: Any, mailbox: Any) -> None:
        self._ray, self._mailbox = ray, mailbox
        self._answer = mailbox.stop_asked.remote()

    def __call__(self) -> bool:
        ready, _ = self._ray.wait([self._answer], timeout=0)
        if not ready:
            return False
        asked: bool = self._ray.get(self._answer)
        self._answer = self._mailbox.stop_asked.remote()
        return asked


class _PostLog(logging.Handler):
    """Sends the log to the driver."""

    def __init__(self, mailbox: Any) -> None:
        super().__init__()
        self._mailbox = mailbox
        self.addFilter(lambda record: record.name.partition(".")[0] in {"i3d_train", "pipelines", "preprocess"})

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, its arguments already in the text."""
        record.msg, record.args = record.getMessage(), None
        self._mailbox.put.remote(record)


def _log_here(record: logging.LogRecord) -> None:
    # a worker logs everything; what is wanted is decided here
    here = logging.getLogger(record.name)
    if here.isEnabledFor(record.levelno):
        here.handle(record)


def _absolute(config: TrainConfig, *, on_gpus: bool) -> TrainConfig:
    # Ray Train changes the workers' folder
    paths = {name: getattr(config, name) for name in ("shards", "out", "weights", "inflate", "clips", "cache")}
    absolute: dict[str, Any] = {name: path.absolute() for name, path in paths.items() if isinstance(path, Path)}
    return replace(config, device="cuda" if on_gpus else "cpu", **absolute)


def _check_resources(ray: Any, config: TrainConfig) -> bool:
    """Whether the workers get a GPU each. Ray would wait, and say nothing, for what no node has."""
    found = {name: int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU")}
    on_gpus = config.device == "cuda" or (config.device == "auto" and found["GPU"] > 0)
    lacking = "GPU" if on_gpus else "CPU"
    if found[lacking] < config.workers:
        raise EnvironmentProblem(
            f"--workers {config.workers} need a {lacking} each, Ray has {found[lacking]}; "
            f"use --workers {found[lacking]} or a larger cluster{', or --device cpu' * on_gpus}"
        )
    return on_gpus


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
        reads = [Path(config.shards) / INDEX_NAME] if not is_address(config.shards) else []
        remedy = "check the address, or leave --workers out"
        with (
            nullcontext() if config.address is None else terms(folders=[config.out], files=reads) as wanted,
            ray_session(config.address, cpus=config.workers, gpus=None, remedy=remedy, wanted=wanted) as session,
        ):
            yield session
    finally:
        shutil.rmtree(config.out / _STORAGE, ignore_errors=True)
