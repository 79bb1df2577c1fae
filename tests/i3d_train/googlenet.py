"""A two-dimensional Inception-v1 under torchvision's names, written without the code under test.

Padding is TensorFlow's SAME, as in the network that I3D grew from. torchvision's own differs in its first layer.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

# of 1x1; 1x1, 3x3; 1x1, 3x3; 1x1 after the pool: as torchvision's googlenet.py has them
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


def padded(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """`x` with zeros around it, one more at the far ends where the number is odd."""
    amounts = []
    for length in (x.shape[3], x.shape[2]):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(x, amounts)


def pool(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Max-pool of values that are nowhere negative."""
    return F.max_pool2d(padded(x, kernel, stride), kernel, stride)


class BasicConv(nn.Module):
    """Convolution, BatchNorm with a scale, ReLU; random as after a training."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        nn.init.normal_(self.conv.weight, std=(2 / self.conv.weight[0].numel()) ** 0.5)
        nn.init.uniform_(self.bn.weight, 0.5, 1.5)
        nn.init.normal_(self.bn.bias, std=0.2)
        self.bn.running_mean.normal_(std=0.2)
        self.bn.running_var.uniform_(0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        return F.relu(self.bn(self.conv(padded(x, kernel, stride))))


class Pool(nn.Module):
    """The first layer of a module's last branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pool(x, 3, 1)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, after_pool = channels
        self.branch1 = BasicConv(inputs, one, 1)
        self.branch2 = nn.Sequential(BasicConv(inputs, reduce3, 1), BasicConv(reduce3, three, 3))
        self.branch3 = nn.Sequential(BasicConv(inputs, reduce5, 1), BasicConv(reduce5, five, 3))
        self.branch4 = nn.Sequential(Pool(), BasicConv(inputs, after_pool, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """The whole network at some width, in evaluation mode; `forward` gives the map before the average pool."""

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        stem, spread = round(64 * width), round(192 * width)
        self.conv1 = BasicConv(3, stem, 7, 2)
        self.conv2 = BasicConv(stem, stem, 1)
        self.conv3 = BasicConv(stem, spread, 3)
        inputs = spread
        for name, full in MODULES.items():
            channels = tuple(round(count * width) for count in full)
            self.add_module(name, Inception(inputs, channels))
            inputs = channels[0] + channels[2] + channels[4] + channels[5]
        self.aux1 = nn.Linear(2, 2)
        self.aux2 = nn.Linear(2, 2)
        self.fc = nn.Linear(inputs, 1000)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pool(self.conv1(x), 3, 2)
        x = pool(self.conv3(self.conv2(x)), 3, 2)
        for name in MODULES:
            x = self.get_submodule(name)(x)
            x = pool(x, 3, 2) if name == "inception3b" else pool(x, 2, 2) if name == "inception4e" else x
        return x
