"""One fit of Ray Train: a run, or what is left of it, in workers that live and end together.

Each worker runs the loop that one process runs. The first one's events and log, and the errors of all, come back
through a mailbox, so that a caller sees the same with workers and without; nothing else goes through Ray's object
store.
"""

import logging
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from i3d_train.attempts import WorkerLost
from i3d_train.config import TrainConfig
from i3d_train.events import Observer, TrainSummary
from i3d_train.mailbox import Letter, Mailbox
from i3d_train.process_group import is_first_process
from i3d_train.train import train
from preprocess.errors import KineflowError

logger = logging.getLogger(__name__)

STORAGE_NAME = ".ray"
"""Folder in that of the run where Ray Train sees whether all nodes share it; to be removed at the end."""
POLL_S = 0.2
_LEAVE_S = 60.0
_VERDICT_S = 30.0
"""Ray takes 15 s to declare a node dead that does not answer, and gives out its CPUs and GPUs until then."""
_REASON_LENGTH = 300


def fit(
    ray: Any, config: TrainConfig, *, on_gpus: bool, observe: Observer, should_stop: Callable[[], bool]
) -> TrainSummary:
    """Train in `config.workers` workers of Ray Train until the run or one of them ends, and the others with it.

    Args:
        ray: the module, connected.
        config: its paths are absolute.
        on_gpus: whether each worker gets a GPU.
        observe: called with each event, from this thread.
        should_stop: asked several times a second; True ends the run with a checkpoint to resume from.

    Raises:
        WorkerLost: a worker was killed or crashed, or its node is gone; nothing of the others is left either.
        KineflowError: the first that a worker raised.
    """
    # beside the driver: what another node has in it goes with the node
    beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    mailbox = ray.remote(num_cpus=0)(Mailbox).options(scheduling_strategy=beside).remote()
    nodes = _nodes(ray)
    run = _Fit(config, mailbox, on_gpus=on_gpus)
    ended, asked, summary, error = False, False, None, None
    while not ended and summary is None and error is None:
        # the last look comes after the end, when all letters are there
        ended = run.ended(POLL_S)
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
    # Ray ends this process without a word when it is shut down under the thread
    run.ended(_LEAVE_S)
    if error is not None:
        raise error
    if summary is None:
        gone = _gone(ray, nodes, patience_s=_VERDICT_S if run.lost_touch else 0)
        named = "".join(f" and node {node}" for node in sorted(gone))
        raise WorkerLost(f"lost a worker{named} ({run.failure or 'Ray Train gives no reason'})")
    return summary


class _Fit:
    """`TorchTrainer.fit`, in a thread: it blocks, and would take Ctrl-C for itself."""

    def __init__(self, config: TrainConfig, mailbox: Any, *, on_gpus: bool) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        self.failure = ""
        self.lost_touch = False
        """Whether a worker no longer answers, and nobody knows yet whether it lives."""
        # Ray Train's own retries know neither the checkpoints of the run nor an end; not each Ray has all three
        retries = {"max_failures", "controller_failure_limit", "max_preemption_failures"}
        none = FailureConfig(**{field.name: 0 for field in fields(FailureConfig) if field.name in retries})
        self._trainer = _leaner(TorchTrainer)(
            _work,
            train_loop_config={"config": config, "mailbox": mailbox},
            scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=on_gpus),
            run_config=RunConfig(name=STORAGE_NAME, storage_path=str(config.out), failure_config=none),
        )
        self._thread = threading.Thread(target=self._run, name="ray-train", daemon=True)
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end, for so long; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from ray.exceptions import ActorUnavailableError, RayError
        from ray.train import TrainingFailedError

        try:
            self._trainer.fit()
        except (TrainingFailedError, RayError) as error:
            logger.info("Ray Train: %s", error)
            self.failure = reason_of(error)
            cause = _cause(error)
            self.lost_touch = isinstance(getattr(cause, "health_check_failure", cause), ActorUnavailableError)


def _leaner(trainer: Any) -> Any:
    """The class `TorchTrainer`, less two actors that do nothing for a run.

    One hands out the datasets of Ray Data, of which there are none; the workers wait for it to start, and import Ray
    Data for it. The other asks the dashboard whether the run is still there. Where there is no dashboard it cleans
    nothing, and the end of a run waits 12 s for it. It is kept where there is one; without it, what a run holds in Ray
    is given back when its driver ends.
    """
    from ray._private.worker import get_dashboard_url

    unused = {"DatasetsCallback"} | ({"PlacementGroupCleanerCallback"} if not get_dashboard_url() else set())

    class Trainer(trainer):  # type: ignore[misc]  # Ray has no types
        def _create_default_callbacks(self) -> list[Any]:
            return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]

    return Trainer


def reason_of(error: Exception) -> str:
    """The last line of the failure that says most: that a worker is dead, rather than that others miss it.

    Args:
        error: of Ray Train; with `worker_failures`, by rank, where workers failed.
    """
    last_line = "".join(traceback.format_exception_only(_cause(error))).strip().rpartition("\n")[2]
    return textwrap.shorten(last_line, _REASON_LENGTH, placeholder=" ...")


def _cause(error: Exception) -> Exception:
    failures = [*getattr(error, "worker_failures", {}).values(), error]
    # what misses another process, in Gloo and NCCL, raises a RuntimeError
    return next((failure for failure in failures if not isinstance(failure, RuntimeError)), error)


def _gone(ray: Any, nodes: set[str], *, patience_s: float) -> set[str]:
    """Those of the nodes that Ray declares dead within some time, or has already."""
    since = time.monotonic()
    while not (gone := nodes - _nodes(ray)) and time.monotonic() - since < patience_s:
        time.sleep(POLL_S)
    return gone


def _nodes(ray: Any) -> set[str]:
    return {f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})" for node in ray.nodes() if node["Alive"]}


def _work(settings: dict[str, Any]) -> None:
    """One worker: the loop, with the driver as its audience."""
    import ray

    mailbox = settings["mailbox"]

    def post(letter: Letter) -> None:
        mailbox.put.remote(letter)

    speaks = is_first_process()
    audience: dict[str, Any] = {}
    if speaks:
        logging.getLogger().addHandler(_PostLog(mailbox))
        audience = {"observe": post, "should_stop": _StopAsked(ray, mailbox)}
    try:
        summary = train(settings["config"], **audience)
    except KineflowError as error:
        ray.get(mailbox.put.remote(error))
        raise
    if speaks:
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
