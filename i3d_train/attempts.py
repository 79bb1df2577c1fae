"""A run whose workers may be lost: begun again from its last checkpoint, for as long as that leads anywhere."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from i3d_train.checkpoint import saved_steps
from i3d_train.config import TrainConfig
from i3d_train.events import TrainSummary
from preprocess.errors import EnvironmentProblem

logger = logging.getLogger(__name__)

_IN_VAIN = 3
"""Attempts in a row without a new checkpoint after which the next would hardly do better."""


class WorkerLost(Exception):
    """A worker ended before the run did, by none of this project's errors: it was killed, or its node is gone."""


def train_in_attempts(
    config: TrainConfig,
    *,
    attempt: Callable[[TrainConfig], TrainSummary],
    lacking: Callable[[], str],
    stopped: Callable[[], bool],
) -> TrainSummary:
    """Train to the end of the run, however many workers that costs.

    Args:
        config: of the run.
        attempt: trains as a configuration says, and raises `WorkerLost` where it cannot go on.
        lacking: waits, not for ever, for what the next attempt needs, and says what is lacking still; empty when
            nothing is, or when the run is to stop.
        stopped: whether the run is to stop.

    Raises:
        EnvironmentProblem: a worker was lost, and the run is to stop, what it needs did not come back, or several
            attempts in a row brought no new checkpoint.
        KineflowError: as raised by `attempt`, which ends the run.
    """
    in_vain, reached = 0, _reached(config.out)
    while True:
        try:
            return attempt(config)
        except WorkerLost as error:
            loss = error
        before, reached = reached, _reached(config.out)
        in_vain = 0 if reached > before else in_vain + 1
        whence = f"from the checkpoint of step {reached}" if reached else "from the start, there is no checkpoint yet"
        if in_vain == _IN_VAIN and not stopped():
            raise EnvironmentProblem(
                f"{loss}; {in_vain} attempts in a row brought no new checkpoint. --resume goes on {whence}; where "
                f"workers are lost that often, use a lower --checkpoint-every"
            ) from loss
        if not stopped():
            logger.warning("%s; going on %s", loss, whence)
            if missing := lacking():
                raise EnvironmentProblem(f"{missing}. Before that: {loss}. --resume goes on {whence}") from loss
        if stopped():
            raise EnvironmentProblem(f"{loss}, and the run was asked to stop; --resume goes on {whence}") from loss
        config = replace(config, resume=True)


def _reached(out: Path) -> int:
    return max(saved_steps(out), default=0)
