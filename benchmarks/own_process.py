"""Processes whose time and memory are nobody else's."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P, R = ParamSpec("P"), TypeVar("R")


def alone(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """What a function of a module returns, run in a process of its own, which is no fork."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def peak_bytes() -> int:
    """Resident at most so far, of this program alone: `ru_maxrss` would be that of whoever started it, if larger."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def resident_bytes(pid: int | str = "self") -> int:
    """Of a process, now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
