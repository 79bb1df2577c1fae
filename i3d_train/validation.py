"""The clips of a run that it is not trained on, scored now and then."""

import itertools
import logging
from collections.abc import Callable
from contextlib import suppress

import torch

from i3d_train import batch_norm
from i3d_train.config import TrainConfig
from i3d_train.data import (
    UNLABELLED,
    check_scoring,
    network_input,
    open_batches,
    open_clips,
    readable,
    warn_of_unseen_classes,
)
from i3d_train.device import autocast
from i3d_train.events import Observer, Scored, Validated
from i3d_train.models.network import Network
from i3d_train.process_group import ProcessGroup
from i3d_train.scoring import Scores, score
from pipelines import Loader
from pipelines.portion import OpenClips
from preprocess.address import shown
from preprocess.errors import BadShard, InvalidInput, NoClips

logger = logging.getLogger(__name__)


class _Stopped(Exception):
    """A validation was asked to stop."""


class Validation:
    """Scores a network on another split than it learns from; each process takes a part of the clips.

    Args:
        config: of the run.
        clips: of the other split.
        train: of the split that it learns from.
        device: of the network.
        precision: that it computes in.
        group: processes that validate together.
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: OpenClips,
        *,
        train: OpenClips,
        device: torch.device,
        precision: str,
        group: ProcessGroup,
    ) -> None:
        self._config, self._clips, self._train = config, clips, train
        self._device, self._precision, self._group = device, precision, group
        self._loader: Loader | None = None
        self._bn_loader: Loader | None = None

    def run(
        self, model: Network, *, step: int, observe: Observer, should_stop: Callable[[], bool] = lambda: False
    ) -> Validated | None:
        """Score `model`; with `precise_bn` its BatchNorm averages are measured first, on clips of `train`.

        Args:
            model: as it is after `step` steps.
            step: to be told.
            observe: told how far it is.
            should_stop: asked after each batch.

        Returns:
            The scores of all processes; None where one of them was asked to stop.

        Raises:
            BadShard: a clip cannot be read, or none of those that can be has a label.
        """
        if self._config.precise_bn:
            self._measure_batch_norm(model, should_stop=should_stop)
        if self._loader is None:
            self._loader = self._open(self._clips, training=False)
        total = len(self._loader.shards)

        def scored(done: int) -> None:
            observe(Scored(done=min(done * self._group.size, total), total=total))
            if should_stop():
                raise _Stopped

        mine = None
        with suppress(_Stopped):
            mine = score(model, self._loader, device=self._device, precision=self._precision, scored=scored)
        found = self._group.gather(mine)
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            return None
        scores = sum(parts, start=Scores())
        if not scores.clips:
            raise BadShard(
                f"no labelled clip of the {self._clips.shards.split} split can be read: {self._loader.skipped}"
            )
        return Validated(step=step, loss=scores.loss, top1=scores.top1, top5=scores.top5, clips=scores.clips)

    def _measure_batch_norm(self, model: Network, *, should_stop: Callable[[], bool]) -> None:
        if self._bn_loader is None:
            # another seed than the training's own loader: these are not the clips of its first steps
            self._bn_loader = self._open(self._train, training=True, seed=self._config.seed + 1)
            self._bn_start = self._bn_loader.state_dict()
        # always the same batches, so that a resumed run measures what an uninterrupted one does
        self._bn_loader.load_state_dict(self._bn_start)
        epochs = itertools.repeat(self._bn_loader)
        batches = itertools.islice(itertools.chain.from_iterable(epochs), self._config.precise_bn)
        # all processes or none: they add up what they measured
        wanted = itertools.takewhile(lambda _: not self._group.any(should_stop(), device=self._device), batches)
        was_training = model.training
        model.eval()
        with autocast(self._device, self._precision):
            inputs = (
                network_input(batch, stream=model.stream, device=self._device, sampling=model.sampling)
                for batch in wanted
            )
            batch_norm.measure(model, inputs, group=self._group)
        model.train(was_training)

    def _open(self, clips: OpenClips, *, training: bool, seed: int = 0) -> Loader:
        return open_batches(self._config, clips, training=training, device=self._device, group=self._group, seed=seed)


def open_validation(
    config: TrainConfig, *, train: OpenClips, device: torch.device, precision: str, group: ProcessGroup
) -> Validation | None:
    """The validation of a run; None, and a warning, where its shards have nothing to score on.

    Args:
        config: of the run.
        train: the clips that are trained on; classes that are only validated are told.
        device: of the network.
        precision: that it computes in.
        group: processes that validate together.

    Raises:
        InvalidInput: the validation split has too few frames or pixels, or the schedule follows a validation that there
            is not.
        BadShard: the shards break their contract.
    """
    split = config.val_split
    try:
        clips = open_clips(config.shards, split=split, reading=config)
    except NoClips as error:
        lacks = str(error)
    else:
        there = readable(clips)
        if (there.clips.label != UNLABELLED).any():
            check_scoring(there, frames=config.frames, crop=config.crop, model=config.model)
            warn_of_unseen_classes(readable(train), there)
            return Validation(config, clips, train=train, device=device, precision=precision, group=group)
        lacks = f"no clip of the {split} split in {shown(config.shards)} has a label"
    if config.schedule == "plateau":
        raise InvalidInput(
            f"schedule plateau follows the validation loss and {lacks}; use --schedule step, or another --val-split "
            f"or shards that have labelled clips of it"
        )
    logger.warning("%s: no validation; --val-split names another split", lacks)
    return None
