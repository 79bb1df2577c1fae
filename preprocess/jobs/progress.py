"""How far the run of a job is, from what the run itself publishes."""

import time
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.jobs.job import Job
from preprocess.outcomes import Outcome
from preprocess.status.run_status import Status


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Clips of one run."""

    total: int
    """That it tries."""
    finished: int
    """That have their outcome."""
    outcomes: dict[str, int]
    """Of the finished ones, `done` first."""
    rate_per_s: float | None
    """Clips a second in the last minutes; None in the first seconds."""
    left_s: float | None
    """Seconds to the end; None while unknown, and after the end."""


def progress_of(job: Job, *, root: Path) -> Progress | None:
    """What the command of a job published last; None when it has published nothing, or another run has since.

    Args:
        job: to look at.
        root: folder that its paths are relative to.
    """
    if job.output is None or job.process is None:
        return None
    try:
        status = Status.read(root / job.output)
    except InvalidInput:
        return None  # the page of the run says what is wrong with it
    # the number alone may be that of an earlier process
    if status is None or status.pid != job.process.pid or status.started < job.created:
        return None
    return Progress(
        total=status.total,
        finished=status.finished,
        outcomes={name: status.outcomes[name] for name in sorted(status.outcomes, key=_place)},
        rate_per_s=status.rate_per_s,
        left_s=status.left_s(now=time.time()) if job.ended is None else None,
    )


def _place(outcome: str) -> int:
    names = [one.value for one in Outcome]
    return names.index(outcome) if outcome in names else len(names)
