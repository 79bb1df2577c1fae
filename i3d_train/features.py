"""Features of clips: what a network's last layer sees, of a shard set or of plain videos.

The width of the features is 1024 for i3d and two_stream (2048 for two streams together), 512 for convnet_lstm and
fused, 4096 for c3d, and of late fusion that of both networks, colour first.

Shapes: C = channels, T = frames, F = features, S = steps.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from i3d_train import weights
from i3d_train.data import (
    STREAMS_READ,
    UNLABELLED,
    check_least,
    check_size,
    network_input,
    open_clips,
    readable,
    warn_of_other_videos,
)
from i3d_train.device import autocast, choose_precision, enough_memory
from i3d_train.events import Observer, Scored, ignore
from i3d_train.feature_file import ClipFeatures, check_name, writing
from i3d_train.models import network_class
from i3d_train.models.network import Network
from i3d_train.options import Machine, Reading, check_at_least, check_choice, check_not_read
from i3d_train.predict import check_fits, clip_input
from i3d_train.scoring import NOT_FINITE_REMEDY
from i3d_train.step_times import step_frames
from i3d_train.weight_info import WeightsInfo
from pipelines import Loader, open_loader
from pipelines.device import resolve_device
from pipelines.portion import OpenClips
from preprocess.address import shown
from preprocess.errors import BadMedia, InvalidInput, UnreadableFile
from preprocess.shards.layout import SPLITS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Machine, Reading):
    """Of which clips to take features, with which network."""

    weights: Path
    """What `i3d_train.weights.load` takes: a checkpoint of a run, safetensors, or a released network."""
    out: Path
    """File to write, `.h5` or `.npz`, see `i3d_train.feature_file`."""
    videos: tuple[Path, ...] = ()
    """Video files; or give `shards`."""
    shards: Path | str | None = None
    """Folder or address of `index.json`."""
    split: str = "val"
    """One of `SPLITS`."""
    frames: int | None = None
    """Consecutive frames that the network sees at once; longer clips are seen in parts. None is the network's own
    test window, 250 for I3D."""
    longest: int = 3000
    """Frames of the longest video that is taken, as many a second as the weights were trained on: all of it is
    decoded into memory."""
    crop: int | None = None
    """Pixels of the square centre crop; None is the network's own, 224 for I3D, or the short side of the frames that it
    was trained on, where that is less."""

    def __post_init__(self) -> None:
        Machine.__post_init__(self)
        Reading.__post_init__(self)
        check_choice("split", self.split, SPLITS)
        for name in ("frames", "longest", "crop"):
            check_at_least(name, getattr(self, name), 1)
        check_name(self.out)
        if self.clips is not None and self.shards is None:
            raise InvalidInput(f"the list {self.clips} is of clips in shards; give --shards with it")
        if bool(self.videos) == (self.shards is not None):
            given = "both" if self.videos else "neither"
            raise InvalidInput(f"features are of videos or of shards, got {given}; give one of them")
        if twice := [path for path, count in Counter(self.videos).items() if count > 1]:
            raise InvalidInput(f"video {twice[0]} is given {self.videos.count(twice[0])} times; give it once")


@dataclass(frozen=True, kw_only=True)
class FeaturesReport:
    """What was written."""

    clips: int
    total: int
    """Clips that were asked for; more than `clips` where some have no features."""
    steps: int
    """Of all clips."""
    size: int
    """Of a feature; 0 when no clip has one."""
    failed: dict[str, str]
    """Key or path of clips that have none, or of skipped shards, whose clips have none, and why."""


@dataclass(frozen=True, kw_only=True)
class _Clip:
    key: str
    label: int
    streams: dict[str, torch.Tensor]
    """[1, C, T, H, W] by stream, of one T."""

    @property
    def frames(self) -> int:
        """Or flow fields."""
        return next(iter(self.streams.values())).shape[2]


def extract(config: FeaturesConfig, *, observe: Observer = ignore) -> FeaturesReport:
    """Write the features of clips.

    A clip is seen whole. Its own feature is made of its steps as the network makes its answer of theirs: their mean,
    or of the LSTM the last.

    Args:
        config: see `FeaturesConfig`.
        observe: called with `Scored` after each clip.

    Returns:
        How many there are, and of which clips there are none. Where there are none at all no file is written.

    Raises:
        InvalidInput: the weights do not fit or are the file to write, or frames or crop are too small for the network.
        BadShard: the shards break their contract.
        EnvironmentProblem: no such device, its memory is too small, or the disk is full.
    """
    check_not_read(config.out, config.weights)
    info = weights.describe(config.weights)
    frames = config.frames or network_class(info.model).sampling.test_window
    crop = config.crop or info.crop
    _check_window(info.model, frames=frames, crop=crop)
    if config.shards is None:
        check_fits(info, crop=crop)
    # the one thing about a network that is not known for each of them
    step_frames(info.model, frames)
    device = resolve_device(config.device)
    precision = choose_precision(config.precision, device)
    model = weights.restore(config.weights).to(device).eval()
    failed: dict[str, str] = {}
    attributes: dict[str, Any] = {
        "model": info.model,
        "stream": info.stream,
        "weights": info.name,
        "fps": float(info.fps),
        "crop": crop,
        "window": frames,
        "labels": [],
        "failed": failed,
    }
    with writing(config.out, attributes) as file:
        loader = None
        if config.shards is None:
            clips, total = _of_videos(config, info, crop=crop, failed=failed), len(config.videos)
        else:
            opened = open_clips(config.shards, split=config.split, reading=config)
            check_size(readable(opened), frames=frames, crop=crop, model=info.model)
            loader = _open(config, opened, stream=info.stream, crop=crop, device=device)
            warn_of_other_videos(info, loader.shards.attributes)
            attributes |= {"labels": list(loader.labels), "fps": float(loader.shards.attributes.fps)}
            clips, total = _of_shards(loader, info.stream), len(loader.shards)
            failed |= dict.fromkeys(loader.missing, f"in no shard of {shown(config.shards)}")
        total += len(failed)
        for clip in clips:
            if clip.frames < model.min_frames:
                _fail(failed, clip.key, f"{clip.frames} frames, {info.model} needs at least {model.min_frames}")
            else:
                with enough_memory(device, clips=1, remedy="fewer --frames, or a smaller --crop"):
                    found = _features(
                        model, clip, name=info.model, window=frames, precision=precision, fps=attributes["fps"]
                    )
                if np.isfinite(found.steps).all() and np.isfinite(found.clip).all():
                    file.add(found)
                else:
                    _fail(failed, clip.key, f"features are not finite; {NOT_FINITE_REMEDY}")
            observe(Scored(done=len(file.keys) + len(failed), total=total))
        if loader is not None:
            failed |= loader.skipped.shards | loader.skipped.clips
        return FeaturesReport(clips=len(file.keys), total=total, steps=file.steps, size=file.size, failed=failed)


def windows(length: int, *, window: int, least: int) -> list[slice]:
    """A clip in parts of `window` frames; what is left over and too short to stand alone goes with the last of them.

    Args:
        length: of the clip.
        window: frames of a part.
        least: frames of the shortest part, but for a clip that is shorter itself.

    Example:
        >>> windows(25, window=10, least=9), windows(30, window=10, least=9)[-1]
        ([slice(0, 10, None), slice(10, 25, None)], slice(20, 30, None))
    """
    starts = range(0, max(length - least, 0) + 1, window)
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], length], strict=True)]


def _check_window(model: str, *, frames: int, crop: int) -> None:
    check_least(model, frames=frames, crop=crop)
    sampling = network_class(model).sampling
    every = math.lcm(sampling.rgb_stride, sampling.flow_stride, sampling.flow_stack)
    if frames % every:
        raise InvalidInput(f"{model} sees every {every}th frame, so frames must be a multiple of it, got {frames}")


def _open(config: FeaturesConfig, clips: OpenClips, *, stream: str, crop: int, device: torch.device) -> Loader:
    return open_loader(
        clips,
        streams=STREAMS_READ[stream],
        frames=None,
        crop=crop,
        batch_size=1,
        device=device,
        training=False,
        **config.loader_options,
    )


def _of_shards(loader: Loader, stream: str) -> Iterator[_Clip]:
    for batch in loader:
        found = cast("dict[str, torch.Tensor]", batch)
        (key,), label = batch["key"], int(batch["label"][0])
        yield _Clip(key=key, label=label, streams={name: found[name] for name in STREAMS_READ[stream]})


def _of_videos(config: FeaturesConfig, info: WeightsInfo, *, crop: int, failed: dict[str, str]) -> Iterator[_Clip]:
    for path in config.videos:
        key = shown(path)
        try:
            # one more than allowed: whether a video is longer is known without decoding all of it
            streams = clip_input(
                path,
                stream=info.stream,
                frames=config.longest + 1,
                crop=crop,
                short_side=info.short_side,
                fps=info.fps,
            )
        except (BadMedia, UnreadableFile) as error:
            _fail(failed, key, str(error))
            continue
        clip = _Clip(key=key, label=UNLABELLED, streams=streams)
        if clip.frames > config.longest:
            reason = f"longer than {config.longest} frames at {info.fps} a second; cut it, or allow more (--longest)"
            _fail(failed, key, reason)
        else:
            yield clip


def _fail(failed: dict[str, str], key: str, reason: str) -> None:
    failed[key] = reason
    logger.info("%s: %s", key, reason)


@torch.inference_mode()
def _features(model: Network, clip: _Clip, *, name: str, window: int, precision: str, fps: float) -> ClipFeatures:
    device = next(model.parameters()).device
    steps_FS, frames_S = [], []
    # a part as short as a network can see at all, such as one frame after 250, would count as much as the others, and
    # be all that the feature of an LSTM's clip tells: none is shorter than what the network learnt from
    for part in windows(clip.frames, window=window, least=min(window, model.sampling.window)):
        streams = {stream: x_BCTHW[:, :, part] for stream, x_BCTHW in clip.streams.items()}
        x = network_input(streams, stream=model.stream, sampling=model.sampling, device=device)
        with autocast(device, precision):
            steps_FS.append(model.step_features(x)[0].float().cpu())
        frames_S.append(part.start + step_frames(name, part.stop - part.start))
    all_FS = torch.cat(steps_FS, dim=1)
    return ClipFeatures(
        key=clip.key,
        label=clip.label,
        frames=clip.frames,
        clip=model.clip_logits(all_FS[None])[0].numpy(),
        steps=all_FS.T.contiguous().numpy(),
        times=np.concatenate(frames_S) / fps,
    )
