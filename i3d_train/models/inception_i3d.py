"""I3D: Inception-v1 with every kernel inflated to three dimensions.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017;
sizes and names as in the authors' released network (google-deepmind/kinetics-i3d, i3d.py), whose weights fit.

Shapes: B = clips, C = channels, T = frames or time steps, H, W = pixels or positions, K = classes.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)
from torch import nn

from i3d_train.models.network import STREAM_CHANNELS, Network
from preprocess.errors import InvalidInput

Size3 = tuple[int, int, int]

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.001
"""Share of the newest batch in the running averages: the original keeps a decay of 0.999."""
DROPOUT = 0.5
"""Probability of dropping a feature before the classifier, in training."""

_BRANCH_CHANNELS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Outputs of 1x1; of 1x1, then 3x3; of 1x1, then 3x3; of 1x1 after the pool.

Branch 2 is 3x3 in the released network and in the two-dimensional one it
grew from, not 5x5 as in GoogLeNet's paper.
"""


def same_padding(length: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros that TensorFlow's SAME adds along one axis, so that the output has ceil(length / stride) steps.

    An odd total puts one more at the far end, and the total depends on the length: no fixed padding does it.

    Returns:
        (before, after).

    Example:
        >>> same_padding(224, kernel=7, stride=2), same_padding(63, kernel=2, stride=2)
        ((2, 3), (0, 1))
    """
    steps = -(-length // stride)
    total = max((steps - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _pad_same(x_BCTHW: torch.Tensor, *, kernel: Size3, stride: Size3) -> torch.Tensor:
    pads = [same_padding(x_BCTHW.shape[2 + axis], kernel=kernel[axis], stride=stride[axis]) for axis in range(3)]
    if not any(before or after for before, after in pads):
        return x_BCTHW
    # F.pad takes the last axis first
    return F.pad(x_BCTHW, [amount for pair in reversed(pads) for amount in pair])


class ConvUnit(nn.Module):
    """Convolution without bias, SAME padding, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv = nn.Conv3d(in_channels, out_channels, self.kernel, self.stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
        _initialise(self.conv)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, out_channels, ceil(T / stride), ceil(H / stride), ceil(W / stride)]."""
        padded = _pad_same(x_BCTHW, kernel=self.kernel, stride=self.stride)
        return F.relu(self.bn(self.conv(padded)), inplace=True)


class MaxPoolSame(nn.Module):
    """Max-pool with SAME padding."""

    def __init__(self, *, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, C, ceil(T / stride), ...]; for input that is nowhere negative, as after a ReLU."""
        # TensorFlow pads with -inf; zeros give the same maximum only because every pool here follows a ReLU
        padded = _pad_same(x_BCTHW, kernel=self.kernel, stride=self.stride)
        return F.max_pool3d(padded, self.kernel, self.stride)


class Mixed(nn.Module):
    """Inception module: four branches side by side, concatenated over channels."""

    def __init__(self, in_channels: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3b = channels
        self.out_channels = c0 + c1b + c2b + c3b
        branches: list[dict[str, nn.Module]] = [
            {"Conv3d_0a_1x1": ConvUnit(in_channels, c0, kernel=1)},
            {
                "Conv3d_0a_1x1": ConvUnit(in_channels, c1a, kernel=1),
                "Conv3d_0b_3x3": ConvUnit(c1a, c1b, kernel=3),
            },
            {
                "Conv3d_0a_1x1": ConvUnit(in_channels, c2a, kernel=1),
                "Conv3d_0b_3x3": ConvUnit(c2a, c2b, kernel=3),
            },
            {
                "MaxPool3d_0a_3x3": MaxPoolSame(kernel=(3, 3, 3), stride=(1, 1, 1)),
                "Conv3d_0b_1x1": ConvUnit(in_channels, c3b, kernel=1),
            },
        ]
        for number, layers in enumerate(branches):
            self.add_module(f"Branch_{number}", nn.Sequential(OrderedDict(layers)))

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, out_channels, T, H, W]."""
        return torch.cat([branch(x_BCTHW) for branch in self.children()], dim=1)


class InceptionI3D(Network):
    """I3D for one stream.

    Args:
        num_classes: length of the logits.
        stream: `rgb` or `flow`.

    Attributes:
        END_POINTS: names of the layers before the classifier, in order.
    """

    streams: ClassVar[tuple[str, ...]] = ("rgb", "flow")
    # three halvings must leave the two time steps that the last pool spans: 9 -> 5 -> 3 -> 2
    min_frames: ClassVar[int] = 9
    head: ClassVar[str] = "Logits"

    END_POINTS: ClassVar[tuple[str, ...]] = (
        "Conv3d_1a_7x7",
        "MaxPool3d_2a_3x3",
        "Conv3d_2b_1x1",
        "Conv3d_2c_3x3",
        "MaxPool3d_3a_3x3",
        "Mixed_3b",
        "Mixed_3c",
        "MaxPool3d_4a_3x3",
        "Mixed_4b",
        "Mixed_4c",
        "Mixed_4d",
        "Mixed_4e",
        "Mixed_4f",
        "MaxPool3d_5a_2x2",
        "Mixed_5b",
        "Mixed_5c",
    )

    def __init__(self, *, num_classes: int, stream: str) -> None:
        super().__init__(num_classes=num_classes, stream=stream)
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": ConvUnit(STREAM_CHANNELS[stream], 64, kernel=7, stride=2),
            "MaxPool3d_2a_3x3": MaxPoolSame(kernel=(1, 3, 3), stride=(1, 2, 2)),
            "Conv3d_2b_1x1": ConvUnit(64, 64, kernel=1),
            "Conv3d_2c_3x3": ConvUnit(64, 192, kernel=3),
            "MaxPool3d_3a_3x3": MaxPoolSame(kernel=(1, 3, 3), stride=(1, 2, 2)),
            "MaxPool3d_4a_3x3": MaxPoolSame(kernel=(3, 3, 3), stride=(2, 2, 2)),
            "MaxPool3d_5a_2x2": MaxPoolSame(kernel=(2, 2, 2), stride=(2, 2, 2)),
        }
        channels = 192
        for name, branch_channels in _BRANCH_CHANNELS.items():
            layers[name] = mixed = Mixed(channels, branch_channels)
            channels = mixed.out_channels
        for name in self.END_POINTS:
            self.add_module(name, layers[name])
        self.dropout = nn.Dropout(DROPOUT)
        logits = nn.Conv3d(channels, num_classes, kernel_size=1)
        _initialise(logits)
        self.add_module("Logits", nn.Sequential(OrderedDict(Conv3d_0c_1x1=logits)))

    def end_points(self, x_BCTHW: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and output of each layer before the classifier, in order.

        Raises:
            InvalidInput: wrong number of channels or too few frames.
        """
        channels = STREAM_CHANNELS[self.stream]
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[1] != channels:
            raise InvalidInput(f"I3D for {self.stream} takes [B, {channels}, T, H, W], got {tuple(x_BCTHW.shape)}")
        if x_BCTHW.shape[2] < self.min_frames:
            raise InvalidInput(f"I3D needs T >= {self.min_frames} frames, got T = {x_BCTHW.shape[2]}; use longer clips")
        x = x_BCTHW
        for name in self.END_POINTS:
            x = self.get_submodule(name)(x)
            yield name, x

    def step_logits(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Logits of each time step: float [B, K, ceil(ceil(ceil(T / 2) / 2) / 2) - 1].

        Frames of 224 pixels leave a map of 7x7, averaged to one position. Of a smaller map all is averaged; on a
        larger one the 7x7 window slides, and the logits of its positions are averaged.
        """
        for _, x in self.end_points(x_BCTHW):
            features = x
        window = (2, min(7, features.shape[3]), min(7, features.shape[4]))
        pooled = self.dropout(F.avg_pool3d(features, window, stride=1))
        logits: torch.Tensor = self.get_submodule("Logits")(pooled)
        return logits.mean(dim=(3, 4))

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Logits of whole clips, the mean over their time steps.

        Args:
            x_BCTHW: float in [-1, 1], T >= 9, any H and W; 224 as published.

        Returns:
            float [B, K], before the softmax.

        Raises:
            InvalidInput: wrong number of channels or too few frames.
        """
        return self.step_logits(x_BCTHW).mean(dim=2)


def _initialise(conv: nn.Conv3d) -> None:
    # the original framework's default: normal with deviation 1 / sqrt(fan in), cut at two deviations
    fan_in = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1] * conv.kernel_size[2]
    deviation = fan_in**-0.5
    nn.init.trunc_normal_(conv.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
