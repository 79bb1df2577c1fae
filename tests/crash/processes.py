"""Processes, as /proc has them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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
