"""Two networks on this machine that see nothing but each other, as two machines with a cable between them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_HOSTS = ("10.77.0.1", "10.77.0.2")


@dataclass(frozen=True, kw_only=True)
class Network:
    """One of them, which exists as long as its process does."""

    pid: int
    host: str

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command begins with to run in it."""
        return ("nsenter", "--user", "--net", f"--target={self.pid}", "--preserve-credentials")


@contextmanager
def joined_networks() -> Iterator[list[Network]]:
    """Both, for the time of a block; skips the test where the system does not allow them."""
    if lacking := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(lacking)} here to make networks with")
    with ExitStack() as stack:
        first = _network(stack, ["unshare", "--user", "--map-root-user", "--net"], host=_HOSTS[0])
        second = _network(stack, [*first.enter, "unshare", "--net"], host=_HOSTS[1])
        _run(first, "ip", "link", "add", "end0", "type", "veth", "peer", "name", "end1", "netns", str(second.pid))
        for number, network in enumerate((first, second)):
            _run(network, "ip", "addr", "add", f"{network.host}/24", "dev", f"end{number}")
            for device in ("lo", f"end{number}"):
                _run(network, "ip", "link", "set", device, "up")
        yield [first, second]


def _network(stack: ExitStack, command: list[str], *, host: str) -> Network:
    own = Path("/proc/self/ns/net").readlink()
    process = stack.enter_context(subprocess.Popen([*command, "sleep", "600"], stderr=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    place = Path(f"/proc/{process.pid}/ns/net")
    while process.poll() is None:
        with suppress(OSError):  # its first moments, and its last
            if place.readlink() != own and Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep"):
                return Network(pid=process.pid, host=host)
        time.sleep(0.01)
    assert process.stderr is not None
    pytest.skip(f"no network namespaces here: {process.stderr.read().strip()}")


def _run(network: Network, *command: str) -> None:
    done = subprocess.run([*network.enter, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no cable between networks here: {done.stderr.strip()}")
