"""Ray for a run: started for it on this machine, or a cluster that is there."""

import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preprocess.errors import EnvironmentProblem
from preprocess.nodes import Terms, require

OBJECT_STORE_BYTES = 512 << 20
_LOOPBACK = "127.0.0.1"
_KNOCK_S = 10.0
_ASK_S = 20.0
_ASK = """
import sys
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient
try:
    GcsClient(address=canonicalize_bootstrap_address(sys.argv[1])).internal_kv_get(b"session_name", b"session")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@contextmanager
def ray_session(
    address: str | None, *, cpus: int, gpus: int | None, remedy: str, wanted: Terms | None = None
) -> Iterator[Any]:
    """The module `ray`, connected, until the block ends.

    Args:
        address: of a cluster, such as `auto` or `host:6379`; None starts one for this run, which listens on 127.0.0.1
            alone, asks for a token and has no dashboard.
        cpus: of a cluster that is started.
        gpus: likewise; None for all that Ray finds.
        remedy: what to do without Ray, for the message.
        wanted: of each node of the cluster at `address`.

    Raises:
        EnvironmentProblem: it cannot be started or reached, its token is another one, or a node does not meet `wanted`;
            or it is lost before the block ends.
    """
    import ray

    try:
        _start(ray, address, cpus=cpus, gpus=gpus, remedy=remedy)
        if wanted is not None:
            require(ray, wanted)
        yield ray
    except ray.exceptions.RayTaskError:  # what a task raised, which is not Ray's fault
        raise
    except ray.exceptions.RayError as error:
        said = str(error).partition("\n")[0]
        raise EnvironmentProblem(
            f"Ray was lost in mid-run, as when the machine is out of memory ({type(error).__name__}: {said}); what is "
            f"finished stays, run it again"
        ) from error
    finally:
        with _signals_kept():
            ray.shutdown()


def _start(ray: Any, address: str | None, *, cpus: int, gpus: int | None, remedy: str) -> None:
    # a local cluster switches its token check on by itself, which is what we want, and says so on every start
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": logging.ERROR,
    }
    try:
        if address is None:
            with _signals_kept(), _loopback_allowed():
                ray.init(
                    # not None: RAY_ADDRESS in the environment must not send this run to somebody's cluster
                    address="local",
                    num_cpus=cpus,
                    num_gpus=gpus,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _node_ip_address=_LOOPBACK,
                    # what a worker started, such as ffmpeg, ends with it
                    _system_config={"process_group_cleanup_enabled": True},
                    **quiet,
                )
        else:
            _knock(address)
            with _signals_kept():
                ray.init(address=address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = "a local Ray" if address is None else f"the Ray cluster at {address}"
        kept_by_ray = Path.home() / ".ray"
        if isinstance(error, OSError) and error.filename and Path(error.filename).is_relative_to(kept_by_ray):
            remedy = (
                f"Ray keeps its token there: set HOME to a folder of yours, or RAY_AUTH_TOKEN to a secret; {remedy}"
            )
        raise EnvironmentProblem(f"cannot start or reach {where}: {error}; {remedy}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let who answers requests to stop answer them, and not before Ray has started, or ended.

    Ray takes SIGTERM for itself, and its end would leave that to the system; interrupted it leaves processes behind for
    half a minute, or crashes. A second request is answered at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from ray._private import utils

    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def wait(number: int, _frame: object) -> None:
        asked.append(number)
        _install(before)

    take_sigterm = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    _install(dict.fromkeys(before, wait))
    try:
        yield
    finally:
        utils.set_sigterm_handler = take_sigterm
        # over those of Ray's C++, of which Python does not know; who was asked a second time may have changed ours
        _install({number: signal.getsignal(number) for number in before} if asked else before)
    for number in asked:
        signal.raise_signal(number)


def _install(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def _loopback_allowed() -> Iterator[None]:
    """Let Ray's processes listen on 127.0.0.1 and nowhere else.

    They do when that is the address of their node. But `ray.init`, unlike `ray start`, takes another address of the
    machine in its place, and then they listen on all of them. tests/test_network.py looks at the sockets.
    """
    from ray._private import services

    replace_loopback = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = replace_loopback


def _knock(address: str) -> None:
    """Fail soon where no cluster answers; Ray itself tries for minutes, and says so on every try.

    Raises:
        OSError: nobody listens.
        ConnectionError: not Ray, or it wants another token.
    """
    if "://" in address:
        raise ValueError("a driver has to be a part of the cluster; give HOST:PORT of its head, from one of its nodes")
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    # in a process of its own, which can be ended, and whose complaints are not for the user
    command = [sys.executable, "-c", _ASK, address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ASK_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"it did not answer as Ray does within {_ASK_S:g} s") from error
    *_, said = asked.stderr.strip().splitlines() or [""]
    if "AuthenticationError" in asked.stderr:
        raise ConnectionError(
            "its token is not the one given here, or none is given; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or put "
            "the token of its head into ~/.ray/auth_token"
        )
    if asked.returncode:
        raise ConnectionError(said)
