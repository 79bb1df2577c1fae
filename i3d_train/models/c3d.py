"""C3D, the 3D-ConvNet of the I3D paper's comparison: eight convolutions, five pools, two fully connected layers.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, in the paper's variation
(section 2.2, Table 1: 79 M parameters): BatchNorm after all convolutions and fully connected layers, and a first pool
of temporal stride 2 instead of 1; 16 frames of 112x112 pixels; always from scratch.

Where the paper is silent:

- Channels 64, 128, 256, 256, 512, 512, 512, 512 of 3x3x3 kernels, and 4096 in the fully connected layers, as in C3D.
- All pools are padded as SAME: of 112 pixels they leave 4x4, with which Table 1's 79 M come out (79.6 M); without it
  they leave 3x3, which makes 64.9 M.
- Frames are 128 pixels short before the 112-pixel crop, as in C3D: half of the 256 and 224 of the other networks.
- The fully connected layers are convolutions: of 4x4 positions, then of one. On 16 frames of 112x112 that is the same,
  and it makes the paper's test possible, which is "convolutional in time". Its logits have a step for every 32 frames.
- Dropout of one half after both fully connected layers, as in C3D.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, S = time steps.
"""

from collections import OrderedDict

import torch
from torch import nn

from i3d_train.models.convolution import ConvUnit, MaxPoolSame, initialise, scaled
from i3d_train.models.network import DROPOUT, STREAM_CHANNELS, Clips, Network
from i3d_train.models.sampling import Sampling

_BLOCKS: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Outputs of the convolutions before each of the five pools."""
_FULL = 4096
_MAP = 4
"""Height and width of the map that the first fully connected layer sees: of 112 pixels, halved five times upwards."""


class C3D(Network):
    """C3D with BatchNorm; at least 97 pixels, which leave the map that the fully connected layers need."""

    streams = ("rgb", "flow")
    min_frames = 1
    # five halvings, each rounded up, must leave four positions: 97 -> 49 -> 25 -> 13 -> 7 -> 4
    min_side = 97
    head = "classifier"
    sampling = Sampling(window=16, test_window=240, crop=224, shrink=2)

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__(num_classes=num_classes, stream=stream, width=width)
        layers: dict[str, nn.Module] = {}
        channels = STREAM_CHANNELS[stream]
        for number, outputs in enumerate(_BLOCKS, start=1):
            for letter, output in zip("ab", outputs, strict=False):
                layers[f"conv{number}{letter}"] = ConvUnit(channels, scaled(output, width), kernel=(3, 3, 3))
                channels = scaled(output, width)
            layers[f"pool{number}"] = MaxPoolSame(kernel=(2, 2, 2), stride=(2, 2, 2))
        full = scaled(_FULL, width)
        layers["fc6"] = ConvUnit(channels, full, kernel=(1, _MAP, _MAP), padded=False)
        layers["dropout6"] = nn.Dropout(DROPOUT)
        layers["fc7"] = ConvUnit(full, full, kernel=(1, 1, 1))
        self.layers = nn.Sequential(OrderedDict(layers))
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(full, num_classes)
        initialise(self.classifier)

    def step_features(self, x: Clips) -> torch.Tensor:
        """Features of each time step, of larger frames the mean over positions: float [B, 4096 x width, S]."""
        features_BFSHW: torch.Tensor = self.layers(self.check_input(x, stream=self.stream))
        return features_BFSHW.mean(dim=(3, 4))
