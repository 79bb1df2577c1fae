"""What happens in a video: the classes that a network finds likeliest.

Shapes: T = frames, C = channels, H, W = pixels.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch

from i3d_train import weights
from i3d_train.data import check_least, network_input
from i3d_train.device import autocast, choose_precision, enough_memory
from i3d_train.labels import class_names
from i3d_train.models import network_class
from i3d_train.models.network import BOTH, Network
from i3d_train.options import Machine, check_at_least
from i3d_train.scoring import NOT_FINITE_REMEDY, ranked
from i3d_train.weight_info import FPS, SHORT_SIDE, WeightsInfo
from pipelines.device import resolve_device
from pipelines.loader import FLOW_STD, RGB_MEAN, RGB_STD
from preprocess.cores import cores
from preprocess.errors import BadMedia, InvalidInput, UnreadableFile
from preprocess.flow import FLOW_ZERO, tvl1_codes
from preprocess.media import to_gray
from preprocess.media_process import read_clip

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Machine):
    """With which weights to look at videos, and how long."""

    weights: Path
    """What `i3d_train.weights.load` takes: a checkpoint of a run, safetensors, or a released network."""
    labels: Path | None = None
    """Class names, one a line; None takes those of the weights, or Kinetics-400's for 400 classes."""
    frames: int = 250
    """How much of a video is seen: its first frames, at the rate that the weights were trained on."""
    crop: int | None = None
    """Pixels of the square centre crop; None is that of `WeightsInfo`."""
    top: int = 5
    """How many classes to name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("frames", "crop", "top"):
            check_at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One class for a video."""

    label: str
    probability: float
    """0 to 1."""
    logit: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network says about one video."""

    path: Path
    frames: int = 0
    """Frames, or flow fields, that it saw."""
    guesses: tuple[Guess, ...] = ()
    """Likeliest first; empty when the video failed."""
    logits_norm: float = 0.0
    """Euclidean norm of all logits, which the published outputs quote."""
    error: str | None = None
    """Why there is no prediction."""


def predict(paths: Iterable[Path], config: PredictConfig) -> Iterator[Prediction]:
    """Predictions for videos, one by one in their order; one that cannot be read, or whose logits are not
    finite, gives an `error` instead.

    Args:
        paths: video files.
        config: see `PredictConfig`.

    Raises:
        InvalidInput: the weights or labels do not fit, or frames or crop are too small or the crop too large,
            before the first video.
        EnvironmentProblem: no such device, or later its memory is too small for a video.
    """
    device = resolve_device(config.device)
    precision = choose_precision(config.precision, device)
    info = weights.describe(config.weights)
    names = class_names(info.num_classes, known=info.labels, file=config.labels)
    crop = config.crop or info.crop
    check_least(info.model, frames=config.frames, crop=crop)
    check_fits(info, crop=crop)
    look = partial(_look, info=info, frames=config.frames, crop=crop)
    model = weights.restore(config.weights).to(device).eval()
    one = partial(_predict_one, look=look, model=model, names=names, top=config.top, device=device, precision=precision)
    return map(one, paths)


def check_fits(info: WeightsInfo, *, crop: int) -> None:
    """Refuse a crop that is larger than the frames of videos are made for these weights.

    Raises:
        InvalidInput: quoting both.
    """
    if crop > info.short_side:
        raise InvalidInput(f"crop must be at most {info.short_side} pixels, got {crop}")


def clip_input(
    path: Path, *, stream: str, frames: int, crop: int, short_side: int = SHORT_SIDE, fps: Fraction = FPS
) -> dict[str, torch.Tensor]:
    """The first frames of a video, the flow between them, or both, as the shards' loaders give them.

    Args:
        path: a video file.
        stream: `rgb`, `flow` or `both`.
        frames: at most so many frames or flow fields.
        crop: pixels of the square centre crop.
        short_side: pixels of the shorter side before it.
        fps: frames a second that are taken of the video.

    Returns:
        By `rgb` and `flow`, float32 [1, C, T, crop, crop] in [-1, 1]; both have the same T.

    Raises:
        BadMedia: the video cannot be decoded.
        UnreadableFile: it cannot be read.
    """
    # of both streams there are as many frames as flow fields, which is one fewer
    frames_THWC = read_clip(path, fps=fps, short_side=short_side, max_frames=frames + (stream != "rgb"))
    found = {}
    if stream in ("rgb", BOTH):
        last = len(frames_THWC) - (stream == BOTH)
        found["rgb"] = _as_input(_centre(frames_THWC[:last], crop), mean=RGB_MEAN, std=RGB_STD)
    if stream in ("flow", BOTH):
        # flow of whole frames, cropped after it: the published order, and what the shards hold
        codes_TCHW = tvl1_codes(to_gray(frames_THWC), threads=cores())
        found["flow"] = _as_input(_centre(codes_TCHW.transpose(0, 2, 3, 1), crop), mean=FLOW_ZERO, std=FLOW_STD)
    return found


def _centre(pixels_THWC: np.ndarray, crop: int) -> np.ndarray:
    top, left = (pixels_THWC.shape[1] - crop) // 2, (pixels_THWC.shape[2] - crop) // 2
    return pixels_THWC[:, top : top + crop, left : left + crop]


def _as_input(codes_THWC: np.ndarray, *, mean: float, std: float) -> torch.Tensor:
    codes_CTHW = torch.from_numpy(np.ascontiguousarray(codes_THWC)).permute(3, 0, 1, 2)
    return ((codes_CTHW.float() - mean) / std)[None].contiguous()


def _look(path: Path, *, info: WeightsInfo, frames: int, crop: int) -> dict[str, torch.Tensor]:
    found = clip_input(path, stream=info.stream, frames=frames, crop=crop, short_side=info.short_side, fps=info.fps)
    least = network_class(info.model).min_frames
    if _length(found) < least:
        raise BadMedia(
            f"{path.name}: {_length(found)} {'frames' if info.stream == 'rgb' else 'flow fields'} at {info.fps} a "
            f"second, the network needs at least {least}; use a longer video"
        )
    return found


def _length(streams: dict[str, torch.Tensor]) -> int:
    return next(iter(streams.values())).shape[2]


def _predict_one(
    path: Path,
    *,
    look: Callable[[Path], dict[str, torch.Tensor]],
    model: Network,
    names: tuple[str, ...],
    top: int,
    device: torch.device,
    precision: str,
) -> Prediction:
    try:
        found = look(path)
    except (BadMedia, UnreadableFile) as error:
        return _failed(path, str(error))
    memory = enough_memory(device, clips=1, remedy="fewer --frames")
    with memory, torch.inference_mode(), autocast(device, precision):
        x = network_input(found, stream=model.stream, sampling=model.sampling, device=device)
        logits_K = model(x)[0].float().cpu()
    if not logits_K.isfinite().all():
        return _failed(path, f"{path.name}: the network's logits are not finite; {NOT_FINITE_REMEDY}")
    probability_K = logits_K.softmax(0)
    best = ranked(logits_K)[:top].tolist()
    return Prediction(
        path=path,
        frames=_length(found),
        guesses=tuple(
            Guess(label=names[k], probability=float(probability_K[k]), logit=float(logits_K[k])) for k in best
        ),
        logits_norm=float(logits_K.norm()),
    )


def _failed(path: Path, reason: str) -> Prediction:
    logger.info("%s", reason)
    return Prediction(path=path, error=reason)
