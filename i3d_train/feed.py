"""The clips of each step: as many batches of a loader as the step is cut into."""

import logging
from collections.abc import Iterator
from typing import Any

import torch

from i3d_train.config import TrainConfig
from i3d_train.data import open_batches
from i3d_train.process_group import ProcessGroup
from pipelines import Batch
from pipelines.portion import OpenClips
from preprocess.errors import InvalidInput

logger = logging.getLogger(__name__)


class Feed:
    """Steps of a training split, epoch after epoch.

    A step never takes clips of two epochs, so that a step cut into parts has the same clips as a whole one.

    Args:
        config: of the run.
        clips: of the training split.
        device: where the batches are wanted.
        group: processes that read the split together.

    Attributes:
        steps_per_epoch: whole steps of an epoch; clips that do not fill one are left out of it.
    """

    def __init__(self, config: TrainConfig, clips: OpenClips, *, device: torch.device, group: ProcessGroup) -> None:
        self._parts = config.accumulate
        self._loader = open_batches(config, clips, training=True, device=device, group=group, seed=config.seed)
        self.steps_per_epoch = len(self._loader) // self._parts
        self._clips_per_step = self._loader.config.clips_per_step * self._parts
        # counted here too, because asking the loader for its state goes through all clips
        self._next_batch = 0
        self._epoch: Iterator[Batch] | None = None

    def next_step(self) -> list[Batch]:
        """The batches of the next step."""
        if self._next_batch + self._parts > len(self._loader):
            self._epoch, self._next_batch = None, 0
        if self._epoch is None:
            self._epoch = iter(self._loader)
        self._next_batch += self._parts
        return [next(self._epoch) for _ in range(self._parts)]

    def tell_skipped(self) -> None:
        """Log what could not be read so far: the loader does so at the end of an epoch, and a run may end before."""
        if self._loader.skipped.draws:
            logger.warning("up to the end of training: %s", self._loader.skipped)

    def state_dict(self) -> dict[str, Any]:
        """Where the next step stands, as a loader of whole steps tells it, see `pipelines.loader.Loader.state_dict`."""
        state = self._loader.state_dict()
        # the loader itself is through with an epoch only when all its batches were taken
        if state["batch"] + self._parts > len(self._loader):
            state |= {"epoch": state["epoch"] + 1, "batch": 0}
        return state | {"batch": state["batch"] // self._parts, "clips_per_step": self._clips_per_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the feed that saved `state` stood, which may have cut its steps otherwise.

        Raises:
            InvalidInput: it was fed other clips, or, inside an epoch, another number of them in a step.
        """
        batch, clips = state["batch"], state["clips_per_step"]
        if batch and clips != self._clips_per_step:
            raise InvalidInput(
                f"the run to resume stands inside an epoch of {clips} clips a step, now they are "
                f"{self._clips_per_step}; use as many processes and as large a batch size as then"
            )
        own = {"batch": batch * self._parts, "clips_per_step": self._loader.config.clips_per_step}
        self._loader.load_state_dict(state | own)
        self._epoch, self._next_batch = None, own["batch"]
