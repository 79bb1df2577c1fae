"""Serving one ROOT until somebody ends it."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.outcomes import MANIFEST_NAME
from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from preprocess.serve.run_folders import find_runs


def serve(config: ServeConfig, *, on_ready: Callable[[str], None] = lambda address: None) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Args:
        config: what to serve, and where.
        on_ready: called with the address of the pages, as soon as they can be asked for.

    Raises:
        InvalidInput: ROOT is not there, or holds nothing of ours; the file for the index is something else.
        EnvironmentProblem: the port is taken, the index cannot be written, or another server has it.
    """
    check_root(config.root)
    with listen(config) as listener:
        app = create_app(config)
        # no access log: addresses hold what people search for, headers hold the token
        settings = uvicorn.Config(
            app, access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=1
        )
        host = f"[{config.host}]" if ":" in config.host else config.host
        on_ready(f"http://{host}:{listener.getsockname()[1]}/")
        uvicorn.Server(settings).run(sockets=[listener])


def check_root(root: Path) -> None:
    """That there is something to serve, or to begin with.

    Raises:
        InvalidInput: no such folder, or nothing of ours in it.
    """
    if not root.is_dir():
        raise InvalidInput(f"ROOT {root} is no folder; name the one that clips and shards are in")
    if not (any(root.glob("*.csv")) or find_runs(root)):
        raise InvalidInput(
            f"{root} holds no run ({MANIFEST_NAME}, status.json or index.json, in it or up to 3 folders below) and no "
            "list (*.csv) to begin with; name the folder that clips and shards are in"
        )


def listen(config: ServeConfig) -> socket.socket:
    """A socket that listens, so that a port that is taken is known before anything begins.

    Raises:
        EnvironmentProblem: the port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(128)  # who comes before the pages are ready waits
    except OSError as error:
        listener.close()
        what = f"{config.host} port {config.port}"
        if error.errno == errno.EADDRINUSE:
            raise EnvironmentProblem(
                f"{what} is in use; choose another one with --port, or 0 for a free one"
            ) from error
        raise EnvironmentProblem(
            f"cannot listen on {what}: {error.strerror or error}; choose another --host"
        ) from error
    return listener
