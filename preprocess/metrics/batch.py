"""Metrics of a run without a server: a file for node exporter's textfile collector, or a port on this machine."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.metrics.gpu_metrics import GpuCollector
from preprocess.metrics.run_metrics import RunCollector
from preprocess.metrics.sampling import OwnRun

WRITE_EVERY_S = 5.0
SUFFIX = ".prom"
"""Node exporter reads no other files."""
_ADDRESS = "127.0.0.1"

logger = logging.getLogger(__name__)


@contextmanager
def exported(folder: Path, *, file: Path | None, port: int | None) -> Iterator[None]:
    """Export the metrics of the run that this process makes in `folder`, while the block runs.

    Args:
        folder: of its clips or shards.
        file: written at the beginning, every five seconds, and at the end; there after it, without what is true of a
            moment only: disk and GPUs.
        port: to answer on, at 127.0.0.1 alone.

    Raises:
        InvalidInput: the file's name does not end in `.prom`.
        EnvironmentProblem: the file cannot be written, or the port is in use.
    """
    registry = CollectorRegistry()
    own = OwnRun(folder, run=str(folder.resolve()))
    registry.register(RunCollector(lambda: [own.sample()]))
    registry.register(GpuCollector())
    last = CollectorRegistry()
    last.register(RunCollector(lambda: [replace(own.sample(), free_bytes=None)]))
    with ExitStack() as stack:
        if port is not None:
            stack.enter_context(_answering(port, registry))
        if file is not None:
            stack.enter_context(_kept(file, registry, last=last))
        yield


@contextmanager
def _answering(port: int, registry: CollectorRegistry) -> Iterator[None]:
    try:
        server, thread = start_http_server(port, addr=_ADDRESS, registry=registry)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot answer on port {port} of {_ADDRESS}: {error.strerror}; choose another --metrics-port"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _kept(file: Path, registry: CollectorRegistry, *, last: CollectorRegistry) -> Iterator[None]:
    if file.suffix != SUFFIX:
        raise InvalidInput(f"metrics file {file} must end in {SUFFIX}: node exporter reads no other")
    try:
        _write(file, registry)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write the metrics file {file}: {error.strerror}; make its folder, or choose another one"
        ) from error
    over = threading.Event()
    thread = threading.Thread(target=_keep, args=(file, registry, last, over.wait), daemon=True, name="metrics file")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep(file: Path, registry: CollectorRegistry, last: CollectorRegistry, wait: Callable[[float], bool]) -> None:
    """Write until `wait` says that it is over, and `last` then; a disk that refuses it costs the run nothing."""
    is_over = is_failing = False
    while not is_over:
        is_over = wait(WRITE_EVERY_S)
        try:
            _write(file, last if is_over else registry)
            is_failing = False
        except OSError as error:
            if not is_failing:
                logger.warning("cannot write %s: %s; Prometheus sees what was there before", file, error)
            is_failing = True


def _write(file: Path, registry: CollectorRegistry) -> None:
    # always the same name, which kills do not add to, and not one that node exporter reads
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        temporary.write_bytes(generate_latest(registry))
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
