"""What workers did and how long it took them: of one clip, or summed over a run."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = {"download": ("fetch", "trim", "inspect"), "flow": ("decode", "flow", "encode")}
"""What is timed, by command, in the order of the work."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that counts as work, what a worker's death undid and a later one did again included."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Stage (of `STAGES`) to seconds, summed over workers, who work at the same time."""
    frames: int = 0
    """In the finished clips; after resampling where that is done."""
    flow_pairs: int = 0
    """Flow fields computed, one for each pair of frames that follow each other."""
    bytes: int = 0
    """Of published files: clips of a download, shards of a flow run."""

    def __add__(self, other: "Work") -> "Work":
        return Work(
            seconds=_sum(self.seconds, other.seconds),
            frames=self.frames + other.frames,
            flow_pairs=self.flow_pairs + other.flow_pairs,
            bytes=self.bytes + other.bytes,
        )


class StageClock:
    """Adds up the seconds that the stages of one clip take, also of a stage that an error ends."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """The block is a part of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started

    @property
    def work(self) -> Work:
        """So far."""
        return Work(seconds=dict(self._seconds))


def _sum(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    return {stage: ours.get(stage, 0.0) + theirs.get(stage, 0.0) for stage in {**ours, **theirs}}
