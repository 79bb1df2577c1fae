"""Tests of i3d_train.models.inception_i3d; the numbers are the published network's."""

import pytest
import torch
from torch import nn

from i3d_train.models import build
from i3d_train.models.convolution import ConvUnit, MaxPoolSame
from i3d_train.models.inception_i3d import InceptionI3D
from preprocess.errors import InvalidInput

CONV_WEIGHTS = {
    "Conv3d_1a_7x7": 65_856,
    "Conv3d_2b_1x1": 4_096,
    "Conv3d_2c_3x3": 331_776,
    "Mixed_3b": 385_536,
    "Mixed_3c": 836_608,
    "Mixed_4b": 736_512,
    "Mixed_4c": 903_168,
    "Mixed_4d": 1_102_336,
    "Mixed_4e": 1_355_264,
    "Mixed_4f": 1_797_120,
    "Mixed_5b": 1_972_224,
    "Mixed_5c": 2_782_208,
    "Logits": 409_600,
}
END_POINT_SHAPES = {
    "Conv3d_1a_7x7": (64, 32, 112),
    "MaxPool3d_2a_3x3": (64, 32, 56),
    "Conv3d_2b_1x1": (64, 32, 56),
    "Conv3d_2c_3x3": (192, 32, 56),
    "MaxPool3d_3a_3x3": (192, 32, 28),
    "Mixed_3b": (256, 32, 28),
    "Mixed_3c": (480, 32, 28),
    "MaxPool3d_4a_3x3": (480, 16, 14),
    "Mixed_4b": (512, 16, 14),
    "Mixed_4c": (512, 16, 14),
    "Mixed_4d": (512, 16, 14),
    "Mixed_4e": (528, 16, 14),
    "Mixed_4f": (832, 16, 14),
    "MaxPool3d_5a_2x2": (832, 8, 7),
    "Mixed_5b": (832, 8, 7),
    "Mixed_5c": (1024, 8, 7),
}
# of i3d.py: positions along time, height and width that a layer sees, and the stride along each
KERNELS = {"1x1": (1, 1, 1), "3x3": (3, 3, 3)}
STRIDED = {
    "Conv3d_1a_7x7": ((7, 7, 7), (2, 2, 2)),
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}


def on_meta(num_classes: int = 400, stream: str = "rgb") -> InceptionI3D:
    with torch.device("meta"):
        network = build("i3d", num_classes=num_classes, stream=stream)
    assert isinstance(network, InceptionI3D)
    return network


def size(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize(("stream", "count"), [("rgb", 12_697_264), ("flow", 12_675_312)])
def test_trainable_parameters(stream, count):
    assert size(on_meta(stream=stream).parameters()) == count


@pytest.mark.parametrize(("stream", "count"), [("rgb", 12_272_704), ("flow", 12_250_752)])
def test_convolution_weights(stream, count):
    network = on_meta(stream=stream)
    kernels = [module.weight for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert size(kernels) == count + CONV_WEIGHTS["Logits"]


@pytest.mark.parametrize(("name", "count"), CONV_WEIGHTS.items())
def test_convolution_weights_of_each_end_point(name, count):
    module = on_meta().get_submodule(name)
    assert size(m.weight for m in module.modules() if isinstance(m, nn.Conv3d)) == count


@pytest.mark.parametrize(
    ("classes", "count"), [(400, 410_000), (600, 615_000), (700, 717_500), (101, 103_525), (51, 52_275)]
)
def test_head_parameters(classes, count):
    assert size(on_meta(num_classes=classes).get_submodule("Logits").parameters()) == count


def test_batch_norm_channels():
    assert size(m.weight for m in on_meta().modules() if isinstance(m, nn.BatchNorm3d)) == 7_280


def test_kernels_and_strides_are_the_published_ones():
    layers = {name: m for name, m in on_meta().named_modules() if isinstance(m, ConvUnit | MaxPoolSame)}
    expected = {name: STRIDED.get(name, (KERNELS.get(name[-3:]), (1, 1, 1))) for name in layers}
    assert {name: (layer.kernel, layer.stride) for name, layer in layers.items()} == expected
    assert len(layers) == 3 + 9 * 6 + 4 + 9


def test_end_point_shapes():
    x = torch.empty(1, 3, 64, 224, 224, device="meta")
    shapes = {name: tuple(y.shape[1:]) for name, y in on_meta().end_points(x)}
    assert shapes == {name: (c, t, side, side) for name, (c, t, side) in END_POINT_SHAPES.items()}


def test_end_points_of_250_frames_halve_upwards():
    x = torch.empty(1, 3, 250, 224, 224, device="meta")
    steps = {name: y.shape[2] for name, y in on_meta().end_points(x)}
    names = ("Conv3d_1a_7x7", "MaxPool3d_4a_3x3", "MaxPool3d_5a_2x2", "Mixed_5c")
    assert [steps[name] for name in names] == [125, 63, 32, 32]


@pytest.mark.parametrize(
    ("frames", "steps"),
    [(9, 1), (16, 1), (25, 3), (32, 3), (64, 7), (79, 9), (100, 12), (128, 15), (240, 29), (250, 31), (300, 37)],
)
def test_time_steps_of_logits(frames, steps):
    x = torch.empty(1, 3, frames, 224, 224, device="meta")
    assert on_meta().step_logits(x).shape == (1, 400, steps)


@pytest.mark.parametrize("side", [32, 100, 193, 224, 256, 300])
def test_any_frame_size_gives_logits(side):
    x = torch.empty(2, 2, 9, side, side + 8, device="meta")
    assert on_meta(stream="flow")(x).shape == (2, 400)


def test_logits_are_the_mean_over_time():
    network = build("i3d", num_classes=5, stream="rgb").eval()
    x = torch.randn(1, 3, 25, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), network.step_logits(x).mean(dim=2))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (9, 5), (3, 4)])
def test_window_of_7x7_slides_over_the_last_map(height, width):
    network = build("i3d", num_classes=5, stream="rgb", width=1 / 16).eval()
    features = torch.rand(2, 64, 4, height, width)
    network.end_points = lambda x: iter([("Mixed_5c", features)])  # type: ignore[method-assign]
    tops, lefts = range(max(height - 6, 1)), range(max(width - 6, 1))
    windows = [features[..., top : top + 7, left : left + 7] for top in tops for left in lefts]
    means_BFT = torch.stack([window.mean(dim=(3, 4)) for window in windows]).mean(dim=0)
    expected = (means_BFT[..., 1:] + means_BFT[..., :-1]) / 2
    torch.testing.assert_close(network.step_features(torch.empty(0)), expected)


def test_too_few_frames_fails():
    with pytest.raises(InvalidInput, match=r"needs T >= 9 frames, got T = 8"):
        on_meta()(torch.empty(1, 3, 8, 224, 224, device="meta"))


def test_wrong_channels_fails():
    with pytest.raises(InvalidInput, match=r"InceptionI3D for flow takes \[B, 2, T, H, W\], got \(1, 3, 16, 32, 32\)"):
        on_meta(stream="flow")(torch.empty(1, 3, 16, 32, 32, device="meta"))


def test_dropout_drops_half():
    assert on_meta().dropout.p == 0.5
