"""How fast a source may be asked, and when to leave it alone: one limiter for all workers, and all runs of a cluster.

Each identity (a proxy, a set of cookies) has a rate of its own. After some walls in a row (a bot check, a rate limit)
it pauses, longer each time; then one request goes out to see. A wall says nothing about the video behind it, so going
on at full speed would turn a list of good clips into failures within minutes.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from preprocess.errors import Cause

WALLS = frozenset({Cause.BOT_WALL, Cause.RATE_LIMIT})
"""Causes that tell about who asks, not about the video."""
WALLS_IN_A_ROW = 3
"""After so many an identity pauses."""
LONGEST_PAUSE_S = 3600.0
"""YouTube names "up to an hour" for how long it holds a session off."""
_PROBE_S = 900.0  # a request sent to see whether the wall is gone is given up for lost after this


@dataclass(frozen=True, kw_only=True)
class Pause:
    """An identity that is left alone for now."""

    identity: str
    until: float
    """Seconds since the epoch."""
    reason: str
    """The last answer, in the words of the source."""


@dataclass(kw_only=True)
class _State:
    next_at: float = 0.0
    walls: int = 0
    """In a row."""
    pauses: int = 0
    """In a row."""
    walled_since: float | None = None
    paused_until: float = 0.0
    shown_until: float = 0.0
    """The same by the calendar."""
    probe_until: float = 0.0
    """Until then nothing but the one request that is out."""
    reason: str = ""


class Limiter:
    """Says who may send the next request.

    Args:
        clock: seconds, rising: one that is set back, as a calendar's may be, would hold requests up for as long.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: defaultdict[str, _State] = defaultdict(_State)

    def take(self, identities: Sequence[str], *, per_hour: float | None) -> str | None:
        """The identity for one request now, the one that waited longest; None when none may.

        Args:
            identities: names; equal names share one allowance.
            per_hour: requests an hour and identity, evenly spaced; None for no limit.
        """
        now = self._clock()
        free = [name for name in identities if self._free_at(name) <= now]
        if not free:
            return None
        chosen = min(free, key=lambda name: self._states[name].next_at)
        state = self._states[chosen]
        state.next_at = now + (3600 / per_hour if per_hour else 0.0)
        if state.pauses:
            state.probe_until = now + _PROBE_S
        return chosen

    def wait_s(self, identities: Sequence[str]) -> float:
        """Seconds until `take` may name one of `identities`."""
        return max(min(self._free_at(name) for name in identities) - self._clock(), 0.0)

    def report(
        self,
        identity: str,
        *,
        cause: Cause | None,
        pause_s: float,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """What a request came to.

        Args:
            identity: as `take` named it.
            cause: None, or a cause that is no wall, ends a row of walls.
            pause_s: seconds of the first pause; each further one in a row is twice as long.
            reason: in the words of the source.
            retry_after_s: seconds that the source asks to wait; heeded at once, and the least of any pause that follows
                a row of walls: a source that asks for none is left alone all the same.
        """
        state, now = self._states[identity], self._clock()
        if cause not in WALLS:
            # an answer to a request from before the pause does not end it
            if now >= state.paused_until:
                state.walls = state.pauses = 0
                state.probe_until = 0.0
                state.walled_since = None
            return
        state.walls += 1
        state.reason = reason
        state.walled_since = now if state.walled_since is None else state.walled_since
        if now < state.paused_until:
            return  # was under way when the pause began
        is_row = state.walls >= WALLS_IN_A_ROW or state.probe_until > now
        if is_row or retry_after_s is not None:
            # 30 doublings are more than an hour of any pause, and a number that a float holds
            growing_s = min(pause_s * 2 ** min(state.pauses, 30), LONGEST_PAUSE_S) if is_row else 0.0
            length_s = max(growing_s, retry_after_s or 0.0)
            state.paused_until, state.shown_until = now + length_s, time.time() + length_s
            state.pauses += 1
            state.walls = 0
            state.probe_until = 0.0

    def pauses(self, identities: Sequence[str]) -> list[Pause]:
        """Which of `identities` are left alone, and until when."""
        now = self._clock()
        return [
            Pause(identity=name, until=state.shown_until, reason=state.reason)
            for name in identities
            if (state := self._states[name]).paused_until > now
        ]

    def walled(self, identities: Sequence[str]) -> tuple[float, str]:
        """How long all of `identities` have met nothing but walls, in seconds, and the last one's words.

        0 when one of them had another answer since, or was not sent yet.
        """
        states = [self._states[name] for name in identities]
        since = [state.walled_since for state in states if state.walled_since is not None]
        if len(since) < len(states):
            return 0.0, ""
        return self._clock() - max(since), states[-1].reason

    def _free_at(self, name: str) -> float:
        state = self._states[name]
        return max(state.next_at, state.paused_until, state.probe_until)
