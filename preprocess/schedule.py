"""In which order clips are fetched, at what pace, and when a failed one is tried again."""

import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from preprocess.annotations import Clip
from preprocess.limiter import Limiter


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at one clip."""

    clip: Clip
    identity: str
    """Who asks, as the limiter named it."""
    number: int
    """From 1."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a clip that failed for now is tried again."""

    tries: int = 5
    """In all; then it is given up for this run."""
    first_s: float = 5.0
    """Upper bound of the wait before the second try; it doubles with each try."""
    longest_s: float = 600.0
    """Upper bound of any wait that the source did not ask for."""

    def wait_s(self, tries: int, *, retry_after_s: float | None) -> float:
        """Seconds to wait after `tries` tries: exponential with full jitter, and never less than the source asks for.

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        bound_s = min(self.first_s * 2 ** (tries - 1), self.longest_s)
        return max(random.uniform(0, bound_s), retry_after_s or 0.0)  # noqa: S311 jitter, not a secret


class ClipQueue:
    """A supply of attempts for `preprocess.workers`.

    Args:
        clips: taken in this order.
        limiter: asked before each attempt.
        identities: who may ask, by name.
        per_hour: requests an hour and identity; None for no limit.
        policy: when to try again.
        clock: seconds, rising.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        limiter: Limiter,
        identities: Sequence[str],
        per_hour: float | None,
        policy: RetryPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh = deque(clips)
        self._again: list[tuple[float, int, Attempt]] = []
        self._limiter = limiter
        self._identities = tuple(identities)
        self._per_hour = per_hour
        self._policy = policy
        self._clock = clock
        self._count = itertools.count()

    @property
    def waiting(self) -> int:
        """Clips that wait for another try."""
        return len(self._again)

    def take(self) -> Attempt | None:
        """The next attempt, when there is a clip to try now and the limiter lets somebody ask."""
        due = bool(self._again) and self._again[0][0] <= self._clock()
        if not due and not self._fresh:
            return None
        identity = self._limiter.take(self._identities, per_hour=self._per_hour)
        if identity is None:
            return None
        if due:
            earlier = heapq.heappop(self._again)[2]
            return Attempt(clip=earlier.clip, identity=identity, number=earlier.number + 1)
        return Attempt(clip=self._fresh.popleft(), identity=identity, number=1)

    def wait_s(self) -> float | None:
        """Seconds until `take` is worth another call; None when nothing is left."""
        if not self._fresh and not self._again:
            return None
        clip_s = 0.0 if self._fresh else max(self._again[0][0] - self._clock(), 0.0)
        return max(clip_s, self._limiter.wait_s(self._identities))

    def again(self, attempt: Attempt, *, retry_after_s: float | None) -> bool:
        """Keep a clip that failed for now; False when it has had all its tries."""
        if attempt.number >= self._policy.tries:
            return False
        wait_s = self._policy.wait_s(attempt.number, retry_after_s=retry_after_s)
        heapq.heappush(self._again, (self._clock() + wait_s, next(self._count), attempt))
        return True
