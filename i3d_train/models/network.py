"""What every network of this package tells about itself, so that training and loading need no special cases.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, K = classes, S = steps: the positions in time
for which a network gives logits of their own.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn

from i3d_train.models.sampling import Sampling
from preprocess.errors import InvalidInput

STREAM_CHANNELS: dict[str, int] = {"rgb": 3, "flow": 2}
"""Input channels of each stream: colour in [-1, 1], and (u, v) in [-1, 1] for -20 to 20 pixels a frame."""
BOTH = "both"
"""The stream of networks that see colour and flow."""
DROPOUT = 0.5
"""Probability of dropping a feature before the classifier, in training: the released I3D's. The paper gives none for
the other networks."""

Clips = torch.Tensor | dict[str, torch.Tensor]
"""Input of a network: [B, C, T, H, W], or for stream `both` one of each under `rgb` and `flow`."""


class Network(nn.Module, ABC):
    """A network that turns clips into class logits.

    A class sets the attributes that are described below. It defines `step_features`, and has the layers `dropout` and
    `classifier` unless it defines `classify` too.

    Args:
        num_classes: length of the logits.
        stream: one of `streams`.
        width: share of the published channels, above 0 and at most 1: for tests and quick trials.
    """

    streams: tuple[str, ...]
    """Streams that it can be built for."""
    min_frames: int
    """Shortest window of consecutive frames that gives logits."""
    min_side: int = 1
    """Smallest height and width that gives logits, in pixels as they enter."""
    head: str
    """Name of the submodules whose size follows the number of classes; fine-tuning replaces them."""
    sampling: Sampling = Sampling()
    """What it sees of a window of frames."""
    loss_at_every_step: bool = False
    """Whether the paper trains it on the logits of each step, not on those of the clip."""

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stream = stream
        self.width = width

    def forward(self, x: Clips, *, every_step: bool = False) -> torch.Tensor:
        """Logits, before the softmax.

        Args:
            x: float in [-1, 1], sampled as `sampling` says.
            every_step: give those of each step, not those of the clip.

        Returns:
            float [B, K], or [B, K, S] with `every_step`.

        Raises:
            InvalidInput: wrong streams or channels, too few frames or pixels.
        """
        logits_BKS = self.step_logits(x)
        return logits_BKS if every_step else self.clip_logits(logits_BKS)

    @classmethod
    def min_crop(cls) -> int:
        """Smallest square crop of a window that gives logits, in pixels: `min_side` before it is shrunk."""
        return cls.min_side * cls.sampling.shrink

    @abstractmethod
    def step_features(self, x: Clips) -> torch.Tensor:
        """What the classifier sees, averaged over positions in the frame: float [B, F, S]."""

    def step_logits(self, x: Clips) -> torch.Tensor:
        """Logits of each step: float [B, K, S]; float32 under autocast too."""
        features_BFS = self.step_features(x)
        device = features_BFS.device.type
        # to ask for that of meta is an error
        if device == "meta" or not torch.is_autocast_enabled(device):
            return self.classify(features_BFS)
        # in bf16 the best of hundreds of logits would often be equal, and their mean over time again
        with torch.autocast(device, enabled=False):
            return self.classify(features_BFS.float())

    def classify(self, features_BFS: torch.Tensor) -> torch.Tensor:
        """Logits of features, float [B, K, S]; with dropout in training."""
        logits_BSK: torch.Tensor = self.get_submodule("classifier")(
            self.get_submodule("dropout")(features_BFS).transpose(1, 2)
        )
        return logits_BSK.transpose(1, 2)

    def clip_logits(self, logits_BKS: torch.Tensor) -> torch.Tensor:
        """The answer for a clip from those of its steps: their mean, unless a network says otherwise."""
        return logits_BKS.mean(dim=2)

    def is_head(self, name: str) -> bool:
        """Whether a parameter or buffer of this name follows the number of classes."""
        return self.head in name.split(".")

    def check_input(self, x: Clips, *, stream: str, frames: int = 1) -> torch.Tensor:
        """The part of the input that one stream is.

        Args:
            x: what `forward` was given.
            stream: `rgb` or `flow`.
            frames: least T, as sampled.

        Raises:
            InvalidInput: it is not there, or has wrong channels, too few frames or pixels.
        """
        name, channels = f"{type(self).__name__} for {stream}", STREAM_CHANNELS[stream]
        if isinstance(x, dict) != (self.stream == BOTH) or (isinstance(x, dict) and set(x) != set(STREAM_CHANNELS)):
            wanted = "a dict of rgb and flow" if self.stream == BOTH else f"one tensor of {stream}"
            got = f"a dict of {', '.join(x) or 'nothing'}" if isinstance(x, dict) else "one tensor"
            raise InvalidInput(f"{type(self).__name__} for {self.stream} takes {wanted}, got {got}")
        x_BCTHW = x[stream] if isinstance(x, dict) else x
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[1] != channels:
            raise InvalidInput(f"{name} takes [B, {channels}, T, H, W], got {tuple(x_BCTHW.shape)}")
        if x_BCTHW.shape[2] < frames:
            raise InvalidInput(f"{name} needs T >= {frames} frames, got T = {x_BCTHW.shape[2]}; use longer clips")
        if min(x_BCTHW.shape[3:]) < self.min_side:
            height, width = x_BCTHW.shape[3:]
            raise InvalidInput(
                f"{name} needs at least {self.min_side}x{self.min_side} pixels, got {height}x{width}; use a larger crop"
            )
        return x_BCTHW
