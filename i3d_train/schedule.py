"""The learning rate of each step.

The released networks were trained on 384 clips a step for 115k steps, at a rate of 0.1, divided by 10 after 97k and
again after 108k (README of google-deepmind/kinetics-i3d). The paper divides when the validation loss saturates.
"""

import math
from collections.abc import Callable
from typing import Any

from i3d_train.config import TrainConfig

_RELEASED_RATE, _RELEASED_BATCH = 0.1, 384
_RELEASED_STEPS, _RELEASED_DROPS = 115_000, (97_000, 108_000)
_BETTER = 1e-3
"""A validation loss counts as lower when it is so by this part, so that noise does not pass for progress."""


class Schedule:
    """The learning rate of a run.

    Args:
        config: its `schedule`, `lr`, `lr_drop_steps`, `patience` and `warmup`.
        total_steps: length of the run.
        clips_per_step: of all processes together.

    Attributes:
        base: the rate that falls later.
    """

    def __init__(self, config: TrainConfig, *, total_steps: int, clips_per_step: int) -> None:
        self.base = _RELEASED_RATE * (clips_per_step / _RELEASED_BATCH) if config.lr is None else config.lr
        self.total_steps = total_steps
        self.warmup_steps = round(config.warmup * total_steps)
        # the first step has the whole rate, of a run of one step too
        released = tuple(max(total_steps * drop // _RELEASED_STEPS, 1) for drop in _RELEASED_DROPS)
        self.drop_steps = released if config.lr_drop_steps is None else config.lr_drop_steps
        self._shape = _SHAPES[config.schedule]
        self._patience = config.patience
        self._drops, self._waited, self._best = 0, 0, math.inf

    def rate(self, step: int) -> float:
        """Rate of step `step`, counted from 1.

        Example:
            >>> from pathlib import Path
            >>> config = TrainConfig(shards=Path("shards"), out=Path("run"))
            >>> schedule = Schedule(config, total_steps=115_000, clips_per_step=384)
            >>> [schedule.rate(step) for step in (97_000, 97_001, 108_001)]
            [0.1, 0.01, 0.001]
        """
        rate = self._shape(self, step)
        return rate * step / self.warmup_steps if step <= self.warmup_steps else rate

    def validated(self, loss: float) -> bool:
        """Take note of a validation's loss; whether the rate falls for it, as `plateau` does."""
        if self._shape is not _plateau:
            return False
        if loss < self._best * (1 - _BETTER):
            self._best, self._waited = loss, 0
            return False
        self._waited += 1
        if self._waited < self._patience:
            return False
        self._drops, self._waited = self._drops + 1, 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """What the validations so far have led to."""
        return {"drops": self._drops, "waited": self._waited, "best": self._best}

    def load_state_dict(self, state: dict[str, Any], *, with_best: bool = True) -> None:
        """Go on from `state_dict`, or from the drops alone, without the best loss and the validations since."""
        self._drops = int(state["drops"])
        if with_best:
            self._waited, self._best = int(state["waited"]), float(state["best"])


def _by_step(schedule: Schedule, step: int) -> float:
    return float(schedule.base / 10 ** sum(step > drop for drop in schedule.drop_steps))


def _plateau(schedule: Schedule, step: int) -> float:
    del step
    return float(schedule.base / 10**schedule._drops)


def _cosine(schedule: Schedule, step: int) -> float:
    # the first step after the warm-up has the whole rate, the one after the last would have none
    falling = max(schedule.total_steps - schedule.warmup_steps, 1)
    done = max(step - 1 - schedule.warmup_steps, 0) / falling
    return schedule.base * 0.5 * (1 + math.cos(math.pi * done))


_SHAPES: dict[str, Callable[[Schedule, int], float]] = {"step": _by_step, "plateau": _plateau, "cosine": _cosine}
