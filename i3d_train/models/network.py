"""What every network of this package tells about itself, so that training and loading need no special cases.

Shapes: B = clips, C = channels, T = frames, H, W = pixels.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn

STREAM_CHANNELS: dict[str, int] = {"rgb": 3, "flow": 2}
"""Input channels of each stream: colour in [-1, 1], and (u, v) in [-1, 1] for -20 to 20 pixels a frame."""


class Network(nn.Module, ABC):
    """A network that turns clips into class logits.

    Attributes:
        num_classes: length of the logits.
        stream: what it was built for, one of `streams`.
    """

    streams: ClassVar[tuple[str, ...]]
    """Streams that it can be built for."""
    min_frames: ClassVar[int]
    """Shortest clip that gives logits."""
    head: ClassVar[str]
    """Name of the submodule whose size follows the number of classes; fine-tuning replaces it."""

    def __init__(self, *, num_classes: int, stream: str) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stream = stream

    @abstractmethod
    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Logits, float [B, num_classes]."""
