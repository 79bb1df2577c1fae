"""What the networks are built from: convolutions and pools that pad as TensorFlow's SAME does, at run time.

Shapes: B = clips, C = channels, T = frames or time steps, H, W = pixels or positions.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)
from torch import nn

from preprocess.errors import InvalidInput

Size3 = tuple[int, int, int]
"""Of time, height and width."""

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.001
"""Share of the newest batch in the running averages: the original keeps a decay of 0.999."""


def scaled(channels: int, width: float) -> int:
    """Channels of a layer in a network of reduced width, at least one.

    Example:
        >>> scaled(64, 1.0), scaled(64, 0.25), scaled(16, 0.01)
        (64, 16, 1)
    """
    return max(1, round(channels * width))


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


def pad_same(
    x_BCTHW: torch.Tensor, *, kernel: Size3, stride: Size3, edge_in_time: bool = False
) -> tuple[torch.Tensor, Size3]:
    """The part of SAME's padding that a layer cannot do itself: a padded copy is memory that the backward pass keeps.

    Returns:
        `x` padded with zeros where one end of an axis needs more than the other, or in time with its first and last
        frame; and what is left for the layer to add at both ends of each axis.
    """
    pads = [same_padding(x_BCTHW.shape[2 + axis], kernel=kernel[axis], stride=stride[axis]) for axis in range(3)]
    if edge_in_time and any(pads[0]):
        x_BCTHW = F.pad(x_BCTHW, (0, 0, 0, 0, *pads[0]), mode="replicate")
        pads[0] = (0, 0)
    time, height, width = (before if before == after else 0 for before, after in pads)
    uneven = [(0, 0) if before == after else (before, after) for before, after in pads]
    if any(after for _, after in uneven):
        # F.pad takes the last axis first
        x_BCTHW = F.pad(x_BCTHW, [amount for pair in reversed(uneven) for amount in pair])
    return x_BCTHW, (time, height, width)


def initialise(layer: nn.Conv3d | nn.Linear) -> None:
    """Weights from a Gaussian of deviation 1 / sqrt(fan in), cut at two deviations; a bias of zero.

    Source: the default of Sonnet, in which the released I3D was written.
    """
    fan_in = layer.weight[0].numel()
    deviation = fan_in**-0.5
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ConvUnit(nn.Module):
    """Convolution without bias, SAME padding, BatchNorm, ReLU.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: positions along time, height and width.
        stride: along the same axes.
        padded: False adds nothing at the borders (TensorFlow's VALID).

    Attributes:
        edge_in_time: repeat the first and last frame where SAME pads time with zeros. The published networks
            pad with zeros; with edges, a still video gives exactly the answer of the two-dimensional network that
            was inflated.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Size3, stride: Size3 = (1, 1, 1), padded: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padded = kernel, stride, padded
        self.edge_in_time = False
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
        initialise(self.conv)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, out_channels, ceil(T / stride), ceil(H / stride), ceil(W / stride)] where padded.

        Raises:
            InvalidInput: in training, a single value a channel, which has no variance.
        """
        padding: Size3 = (0, 0, 0)
        if self.padded:
            x_BCTHW, padding = pad_same(x_BCTHW, kernel=self.kernel, stride=self.stride, edge_in_time=self.edge_in_time)
        y_BCTHW = F.conv3d(x_BCTHW, self.conv.weight, stride=self.stride, padding=padding)
        check_variance(self.bn, y_BCTHW)
        return F.relu(self.bn(y_BCTHW), inplace=True)


class MaxPoolSame(nn.Module):
    """Max-pool with SAME padding.

    Args:
        kernel: positions along time, height and width.
        stride: along the same axes; with an even kernel at least 2.
    """

    def __init__(self, *, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, C, ceil(T / stride), ceil(H / stride), ceil(W / stride)]."""
        time, height, width = (
            same_padding(length, kernel=kernel, stride=stride)[0]
            for length, kernel, stride in zip(x_BCTHW.shape[2:], self.kernel, self.stride, strict=True)
        )
        # the one position more that SAME may add at the far end is that of a last window which is not whole: without a
        # padded copy, which of I3D's first pools would be the largest tensors that training keeps
        return F.max_pool3d(x_BCTHW, self.kernel, self.stride, (time, height, width), ceil_mode=True)


def check_variance(norm: nn.Module, x: torch.Tensor) -> None:
    """Refuse to train BatchNorm on one value a channel; with other processes' values it may still work.

    Raises:
        InvalidInput: `x`, [B, C, ...], has one value a channel and `norm` is in training.
    """
    # SyncBatchNorm counts the values of all processes, and complains itself
    alone = norm.training and not isinstance(norm, nn.SyncBatchNorm)
    if alone and x.numel() == x.shape[1]:
        raise InvalidInput(
            "BatchNorm in training needs more than one value a channel; use at least 2 clips a batch, and in each part "
            "of it that --accumulate makes"
        )
