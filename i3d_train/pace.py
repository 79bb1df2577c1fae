"""How fast a run goes, and what for."""

from collections import deque

_RECENT_STEPS = 20


class Pace:
    """How fast steps go, and which part of the time is waiting for data."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=_RECENT_STEPS)
        self._first: tuple[int, float, float] | None = None
        self._clips, self._wait_s, self._step_s = 0, 0.0, 0.0

    def add(self, *, clips: int, wait_s: float, step_s: float) -> None:
        """Count one step of `step_s` seconds, `wait_s` of them spent waiting."""
        if self._first is None:
            # start-up of the loader and of the GPU's kernels; kept only until there is a second step
            self._first = (clips, wait_s, step_s)
            return
        self._recent.append((clips, wait_s, step_s))
        self._clips += clips
        self._wait_s += wait_s
        self._step_s += step_s

    @property
    def clips_per_s(self) -> float:
        """Of all steps but the first."""
        clips, _, step_s = self._total()
        return clips / step_s if step_s else 0.0

    @property
    def wait_share(self) -> float:
        """Of all steps but the first; 0 to 1."""
        _, wait_s, step_s = self._total()
        return wait_s / step_s if step_s else 0.0

    def recent(self) -> tuple[float, float]:
        """Clips per second and share of waiting over the latest steps."""
        steps = list(self._recent) or [self._first or (0, 0.0, 1.0)]
        step_s = sum(step[2] for step in steps)
        return sum(step[0] for step in steps) / step_s, sum(step[1] for step in steps) / step_s

    def _total(self) -> tuple[int, float, float]:
        return (self._clips, self._wait_s, self._step_s) if self._recent else (self._first or (0, 0.0, 0.0))
