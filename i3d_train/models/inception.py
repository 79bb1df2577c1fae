"""Inception-v1, in which kernels see one frame (as the network that ImageNet trained) or several (as I3D).

Layers, sizes and names as in the released I3D (google-deepmind/kinetics-i3d, i3d.py), which follow TF-Slim's
inception_v1.py. The kernels of both forms are five-dimensional, those of the first with a time of one: so frames
need not be folded into the batch, one memory layout fits all networks here, and inflation only repeats.

Shapes: B = clips, C = channels, T = frames or time steps, H, W = pixels or positions.
"""

from collections import OrderedDict

import torch
from torch import nn

from i3d_train.models.convolution import ConvUnit, MaxPoolSame, Size3, scaled

BRANCH_CHANNELS: dict[str, tuple[int, int, int, int, int, int]] = {
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

STEM = "Conv3d_1a_7x7"
"""The first layer."""
STEM_CHANNELS = 64
"""Its outputs, at full width."""
LAYERS: tuple[str, ...] = (
    STEM,
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
"""Names in order, without the average pool and the classifier, in which the networks differ."""


class Mixed(nn.Module):
    """Inception module: four branches side by side, concatenated over channels.

    Args:
        in_channels: of the input.
        channels: a value of `BRANCH_CHANNELS`, or the same at a reduced width.
        time: frames that a 3x3 kernel or pool sees: 3, or 1.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], *, time: int = 3) -> None:
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3b = channels
        self.out_channels = c0 + c1b + c2b + c3b
        one, three = (1, 1, 1), (time, 3, 3)
        branches: list[dict[str, nn.Module]] = [
            {"Conv3d_0a_1x1": ConvUnit(in_channels, c0, kernel=one)},
            {
                "Conv3d_0a_1x1": ConvUnit(in_channels, c1a, kernel=one),
                "Conv3d_0b_3x3": ConvUnit(c1a, c1b, kernel=three),
            },
            {
                "Conv3d_0a_1x1": ConvUnit(in_channels, c2a, kernel=one),
                "Conv3d_0b_3x3": ConvUnit(c2a, c2b, kernel=three),
            },
            {
                "MaxPool3d_0a_3x3": MaxPoolSame(kernel=three, stride=(1, 1, 1)),
                "Conv3d_0b_1x1": ConvUnit(in_channels, c3b, kernel=one),
            },
        ]
        for number, layers in enumerate(branches):
            self.add_module(f"Branch_{number}", nn.Sequential(OrderedDict(layers)))

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Float [B, out_channels, T, H, W]."""
        return torch.cat([branch(x_BCTHW) for branch in self.children()], dim=1)


def inception(in_channels: int, *, in_time: bool, width: float = 1.0) -> nn.Sequential:
    """The layers up to `Mixed_5c`, under the names of `LAYERS`.

    Args:
        in_channels: 3 for colour, 2 for a flow field, 20 for ten of them.
        in_time: whether kernels and strides reach over time as in I3D; otherwise each frame is alone.
        width: share of the published channels, see `scaled`.

    Returns:
        From float [B, in_channels, T, H, W] to [B, 1024 x width, T / 8, H / 32, W / 32], each rounded upwards; T as it
        is when frames are alone.
    """

    def over(time: int, space: int) -> Size3:
        return (time if in_time else 1, space, space)

    stem, reduced, spread = (scaled(channels, width) for channels in (STEM_CHANNELS, 64, 192))
    layers: dict[str, nn.Module] = {
        STEM: ConvUnit(in_channels, stem, kernel=over(7, 7), stride=over(2, 2)),
        "MaxPool3d_2a_3x3": MaxPoolSame(kernel=(1, 3, 3), stride=(1, 2, 2)),
        "Conv3d_2b_1x1": ConvUnit(stem, reduced, kernel=(1, 1, 1)),
        "Conv3d_2c_3x3": ConvUnit(reduced, spread, kernel=over(3, 3)),
        "MaxPool3d_3a_3x3": MaxPoolSame(kernel=(1, 3, 3), stride=(1, 2, 2)),
        "MaxPool3d_4a_3x3": MaxPoolSame(kernel=over(3, 3), stride=over(2, 2)),
        "MaxPool3d_5a_2x2": MaxPoolSame(kernel=over(2, 2), stride=over(2, 2)),
    }
    channels = spread
    for name, branches in BRANCH_CHANNELS.items():
        mixed = Mixed(channels, tuple(scaled(branch, width) for branch in branches), time=3 if in_time else 1)
        layers[name] = mixed
        channels = mixed.out_channels
    return nn.Sequential(OrderedDict((name, layers[name]) for name in LAYERS))


def inception_features(width: float) -> int:
    """Channels that `inception` ends with: 1024 at full width."""
    first, _, second, _, third, fourth = BRANCH_CHANNELS["Mixed_5c"]
    return sum(scaled(channels, width) for channels in (first, second, third, fourth))
