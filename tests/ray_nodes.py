"""Ray nodes on this machine, each of processes of its own and with an address of its own, as `ray start` makes them."""

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.crash.commands import PATIENCE_S, ROOT
from tests.crash.processes import descendants, running

HEAD, SECOND, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
"""Of the loopback device; Ray takes another address of the machine in the place of 127.0.0.1."""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
_IN_A_HURRY = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", "RAY_health_check_period_ms": "1000"}
"""A node is dead when it has refused to answer five times: after 5 s, rather than 15."""
_UP = "Ray runtime started"
_STORE = f"--object-store-memory={200 << 20}"


class Node:
    """One node, with one CPU.

    Args:
        options: of `ray start`.
        host: its address.
        folder: where it runs, of its log, and of the calls that it counts, see tests/crash/kill_points.py.
        wrap: functions whose calls it counts.
        at: where a task on it pauses.
        path: where its Python finds kineflow.
        inside: a command that runs `ray start` somewhere else, such as in a network of its own.
    """

    def __init__(
        self,
        *options: str,
        host: str,
        folder: Path,
        wrap: str = "",
        at: str = "",
        path: Path = ROOT,
        inside: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True)
        self.host = host
        self.calls = folder
        self._log = folder / "log"
        site = ROOT / "tests" / "crash" / "site"
        environment = {"CRASH_CALLS": str(folder), "CRASH_AT": at, "CRASH_WRAP": wrap, "PYTHONPATH": f"{site}:{path}"}
        ray = Path(sys.executable).with_name("ray")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*inside, ray, "start", "--block", f"--node-ip-address={host}", "--num-cpus=1", _STORE, *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **TOKEN, **_IN_A_HURRY, **environment},
            )

    def wait_until_up(self) -> None:
        """Until it is a part of its cluster."""
        deadline = time.monotonic() + PATIENCE_S
        while _UP not in (said := self._log.read_text(errors="replace")):
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def wait_for_pause(self) -> None:
        """Until a task on it has reached its point, for which a worker on each node may have to import PyTorch."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not (self.calls / "paused").exists():
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")
            time.sleep(0.02)

    def lose(self) -> None:
        """As when the machine is switched off, as far as the others can tell."""
        (raylet,) = [one.pid for one in descendants(self._process.pid) if "/raylet/raylet " in one.command]
        os.kill(raylet, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and whatever is left of it."""
        family = descendants(self._process.pid)
        self._process.terminate()
        self._process.wait(60)
        there = {(process.pid, process.command) for process in running()}
        for process in family:
            if (process.pid, process.command) in there:
                os.kill(process.pid, signal.SIGKILL)


class Cluster:
    """A head and the nodes that join it."""

    def __init__(self, folder: Path, *, address: str, head: Node) -> None:
        self._folder = folder
        self.address = address
        self.nodes = [head]

    @contextmanager
    def joined(self, host: str, **options: Any) -> Iterator[Node]:
        """One more node, for the time of a block."""
        folder = self._folder / f"{host}-{secrets.token_hex(4)}"
        with _stopped(Node(f"--address={self.address}", host=host, folder=folder, **options)) as node:
            node.wait_until_up()
            yield node


@contextmanager
def cluster(folder: Path, *, host: str = HEAD, **options: Any) -> Iterator[Cluster]:
    """A cluster of a head alone, for the time of a block."""
    port, port_of_clients = _free_ports()
    head = ("--head", "--include-dashboard=false", f"--port={port}", f"--ray-client-server-port={port_of_clients}")
    # a short path: that of a socket may have 107 characters
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as short:
        node = Node(*head, f"--temp-dir={short}", host=host, folder=folder / "head", **options)
        with _stopped(node):
            node.wait_until_up()
            yield Cluster(folder, address=f"{host}:{port}", head=node)


@contextmanager
def _stopped(node: Node) -> Iterator[Node]:
    try:
        yield node
    finally:
        node.stop()


def _free_ports() -> list[int]:
    """Two of those that the system gives to nobody who takes any, and Ray to none of its workers."""
    ports = []
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == 2:
            return ports
    raise AssertionError("of 100 ports none was free")
