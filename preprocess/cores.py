"""How many cores there are for this process, which may be fewer than the machine has."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Cores that this process may use: those that a scheduler such as SLURM gave it, as many as its container may fill.

    Source: the kernel's cgroup-v2.rst, `cpu.max`: microseconds of all cores together in each period of so many, or
    `max`. The folder is the container's own, as runtimes mount it; outside of containers it has no such file.
    """
    given = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text().split()
        return min(given, max(math.ceil(int(quota) / int(period)), 1))
    except (OSError, ValueError):  # no limit
        return given
