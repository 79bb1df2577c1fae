"""Processes, as /proc has them."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN of linux/tcp_states.h


@dataclass(frozen=True, kw_only=True)
class Process:
    """One that is there now."""

    pid: int
    parent: int
    group: int
    session: int
    command: str
    """With its arguments."""


def running() -> Iterator[Process]:
    """All processes that have not ended."""
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            state, parent, group, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state not in "ZX":
            yield Process(
                pid=int(path.name), parent=int(parent), group=int(group), session=int(session), command=command.strip()
            )


def descendants(pid: int) -> list[Process]:
    """A process' children and theirs."""
    everyone, found, parents = list(running()), [], {pid}
    while parents:
        children = [process for process in everyone if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def strangers_of(group: int) -> list[Process]:
    """Processes of a group that have outlived its leader."""
    return [process for process in running() if process.group == group and process.pid != os.getpid()]


def listening(pids: list[int]) -> set[tuple[str, int]]:
    """Address and port of each TCP socket on which one of some processes takes connections."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                # each 32 bits are in the order of this machine, which is little-endian where this runs
                packed = b"".join(bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8))
                found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it may end meanwhile
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found
