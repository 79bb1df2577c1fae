"""What shards offer a run, checked before the first step, and their batches.

Shapes: B = clips, C = channels, T = frames, H, W = pixels.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i3d_train.config import TrainConfig
from i3d_train.models import network_class
from i3d_train.models.network import BOTH, Clips
from i3d_train.models.sampling import Sampling
from i3d_train.options import Reading
from i3d_train.process_group import ALONE, ProcessGroup
from i3d_train.weight_info import WeightsInfo
from pipelines import Loader, open_loader, portion
from pipelines.portion import OpenClips
from preprocess.address import shown
from preprocess.errors import InvalidInput
from preprocess.shards import ShardAttributes, ShardSet

logger = logging.getLogger(__name__)

UNLABELLED = -1
"""Label of a clip whose list has no label column."""

STREAMS_READ: dict[str, tuple[str, ...]] = {"rgb": ("rgb",), "flow": ("flow",), BOTH: ("rgb", "flow")}
"""Which of the shards' streams a network's stream needs."""

_NAMED = 5
_WINDOW_224 = 193
"""Smallest crop whose last map is 7x7, the window of I3D's final pool."""


def open_clips(shards: Path | str, *, split: str, reading: Reading, balanced: bool = False) -> OpenClips:
    """Open the clips of one split.

    Args:
        shards: folder or address of `index.json`.
        split: `train`, `val`, `test` or `extra`.
        reading: which of them, and how.
        balanced: whether their classes will be drawn equally often, for which all shards have to be readable.

    Raises:
        NoClips: none of that split.
        InvalidInput: no such shards, or a list that does not go with them.
        BadShard: the shards break their contract.
    """
    return portion.open_clips(
        shards,
        split=split,
        clips=reading.clips,
        skip_bad=reading.on_bad_shard == "skip" and not balanced,
        storage=portion.Storage(cache=reading.cache, cache_bytes=reading.cache_bytes),
    )


def readable(clips: OpenClips) -> ShardSet:
    """Without the clips of shards that are skipped, of which nothing is known but their number."""
    shards = clips.shards
    if not shards.bad:
        return shards
    assert shards.split is not None
    return shards.only(np.flatnonzero(~np.isin(shards.shard_of_clip, list(shards.bad))), split=shards.split)


def open_batches(
    config: TrainConfig,
    clips: OpenClips,
    *,
    training: bool,
    device: torch.device,
    group: ProcessGroup = ALONE,
    seed: int = 0,
) -> Loader:
    """A loader of the batches of a run, each a part of a step.

    Args:
        config: of the run.
        clips: of which clips; the loaders of a run share them.
        training: shuffled with random window, crop and flip; otherwise natural order and the centre.
        device: where decoding may happen and the batches are wanted.
        group: processes that read the clips together.
        seed: of order and augmentation.
    """
    return open_loader(
        clips,
        streams=STREAMS_READ[config.stream],
        frames=config.frames,
        crop=config.crop,
        batch_size=config.batch_size // config.accumulate,
        device=device,
        seed=seed,
        training=training,
        flip=config.flip,
        balanced=config.balanced and training,
        shuffle_shards=config.shuffle_shards if training else None,
        shard_id=group.rank,
        num_shards=group.size,
        **config.loader_options,
    )


def network_input(
    clips: Mapping[str, Any],
    *,
    stream: str,
    device: torch.device,
    sampling: Sampling = Sampling(),
    layout: torch.memory_format = torch.contiguous_format,
) -> Clips:
    """What the network sees of clips, on its device.

    Args:
        clips: a batch of a loader, or float32 [B, C, T, H, W] under the same names.
        stream: `rgb`, `flow` or `both`.
        device: of the network.
        sampling: the network's.
        layout: of the result in memory.

    Returns:
        float32 [B, C, T, H, W]; for stream `both` one of `rgb` and one of `flow`, by name.
    """
    moved = {
        name: sampling.take(clips[name], stream=name).to(device, non_blocking=True).contiguous(memory_format=layout)
        for name in STREAMS_READ[stream]
    }
    return moved if stream == BOTH else moved[stream]


def check_training(config: TrainConfig, *, processes: int = 1) -> OpenClips:
    """The `train` split, once it is known that this run can be trained on it.

    Args:
        config: of the run.
        processes: that train together.

    Raises:
        InvalidInput: no such split, clips without a label, too few clips, frames or pixels.
        BadShard: the shards break their contract.
    """
    opened = open_clips(config.shards, split="train", reading=config, balanced=config.balanced)
    clips = readable(opened)
    unlabelled = np.flatnonzero(clips.clips.label == UNLABELLED)
    if len(unlabelled):
        raise InvalidInput(
            f"{len(unlabelled)} of {len(clips)} clips of the train split have no label, "
            f"such as {', '.join(map(clips.key, unlabelled[:_NAMED]))}; "
            f"run `preprocess flow` on a list with a label column, or leave those clips out of it"
        )
    if config.batch_size * processes > len(clips):
        where = f" on {processes} processes" if processes > 1 else ""
        raise InvalidInput(
            f"batch_size {config.batch_size}{where} is larger than the {len(clips)} clips of the train split in "
            f"{shown(config.shards)}; use {max(len(clips) // processes, 1)} or less"
        )
    for name in ("short_side", "fps"):
        wanted, stored, option = getattr(config, name), getattr(clips.attributes, name), "--" + name.replace("_", "-")
        if wanted not in (None, stored):
            raise InvalidInput(
                f"{name} {wanted} was asked for, the shards in {shown(config.shards)} have {stored}; make them "
                f"with `preprocess flow {option} {wanted}`, or give {option} {stored}"
            )
    check_size(clips, frames=config.frames, crop=config.crop, model=config.model)
    return opened


def check_scoring(clips: ShardSet, *, frames: int, crop: int, model: str) -> None:
    """That a network's answers for clips can be scored; says how many cannot.

    Raises:
        InvalidInput: no clip with a label, too few frames or pixels.
    """
    unlabelled = int((clips.clips.label == UNLABELLED).sum())
    if unlabelled == len(clips):
        raise InvalidInput(
            f"none of the {unlabelled} clips in split {clips.split!r} has a label to score against; "
            f"use another --split, or `i3d_train predict` for the labels of videos"
        )
    if unlabelled:
        logger.warning(
            "%d of %d clips in split %r have no label and are not scored", unlabelled, len(clips), clips.split
        )
    check_size(clips, frames=frames, crop=crop, model=model)


def check_size(clips: ShardSet, *, frames: int, crop: int, model: str) -> None:
    """That clips are large and windows long enough for a network.

    Raises:
        InvalidInput: quoting what is too small.
    """
    check_least(model, frames=frames, crop=crop)
    short_side = int(np.minimum(clips.clips.height, clips.clips.width).min())
    if crop > short_side:
        least = network_class(model).min_crop()
        larger = f"{model} needs {least}, make them with `preprocess flow --short-side` of that or more"
        raise InvalidInput(
            f"crop {crop} is larger than the short side of the shards, {short_side} pixels; "
            f"{larger if least > short_side else 'use less'}"
        )


def check_least(model: str, *, frames: int, crop: int) -> None:
    """That a window is long and large enough for a network.

    Raises:
        InvalidInput: quoting what is too small.
    """
    network = network_class(model)
    if frames < network.min_frames:
        raise InvalidInput(f"{model} needs at least {network.min_frames} frames, got frames {frames}")
    if crop < network.min_crop():
        raise InvalidInput(f"{model} needs a crop of at least {network.min_crop()} pixels, got crop {crop}")


def note_small_crop(crop: int) -> None:
    """Say when frames are too small for the published average over 7x7 positions."""
    if crop < _WINDOW_224:
        logger.info("crop %d leaves a last map smaller than 7x7; all of it is averaged", crop)


def warn_of_other_videos(weights: WeightsInfo, stored: ShardAttributes) -> None:
    """Say where a network has learnt from frames of another size or rate than it is shown."""
    for name in ("short_side", "fps"):
        learnt, shown_now = getattr(weights, name), getattr(stored, name)
        if learnt != shown_now:
            logger.warning("the weights are for videos of %s %s, these shards have %s", name, learnt, shown_now)


def warn_of_unseen_classes(train: ShardSet, val: ShardSet) -> None:
    """Say which classes are validated and never trained."""
    unseen = sorted(set(val.clips.label.tolist()) - set(train.clips.label.tolist()) - {UNLABELLED})
    if unseen:
        names = ", ".join(repr(train.labels[label]) for label in unseen[:_NAMED])
        logger.warning("%d classes of the val split have no clip in train, such as %s", len(unseen), names)
