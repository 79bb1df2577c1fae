"""Tests of i3d_train.models.inception."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from i3d_train.models.convolution import ConvUnit, MaxPoolSame
from i3d_train.models.inception import Mixed, inception, inception_features
from tests.i3d_train.models.small_networks import lively


def test_mixed_concatenates_its_branches_in_order():
    mixed = Mixed(4, (1, 2, 3, 4, 5, 6)).eval()
    x = torch.rand(1, 4, 3, 5, 5)
    out = mixed(x)
    assert out.shape == (1, 1 + 3 + 5 + 6, 3, 5, 5)
    pooled = F.max_pool3d(x, 3, stride=1, padding=1)
    last = mixed.get_submodule("Branch_3.Conv3d_0b_1x1")(pooled)
    torch.testing.assert_close(out[:, -6:], last)


def test_frames_of_the_flat_form_are_alone():
    trunk = lively(inception(3, in_time=False, width=1 / 16).eval())
    x = torch.rand(1, 3, 4, 40, 40)
    with torch.inference_mode():
        together = trunk(x)
        alone = [trunk(x[:, :, t : t + 1]) for t in range(4)]
    torch.testing.assert_close(together, torch.cat(alone, dim=2))


def test_flat_form_is_the_other_one_without_time():
    with torch.device("meta"):
        flat, deep = inception(3, in_time=False), inception(3, in_time=True)
    pairs = zip(flat.modules(), deep.modules(), strict=True)
    layers = [(one, other) for one, other in pairs if isinstance(one, ConvUnit | MaxPoolSame)]
    assert len(layers) == 70
    for one, other in layers:
        assert (one.kernel, one.stride) == ((1, *other.kernel[1:]), (1, *other.stride[1:]))


def test_flat_form_has_the_filters_of_the_two_dimensional_network():
    with torch.device("meta"):
        trunk = inception(3, in_time=False)
    # torchvision's GoogLeNet without auxiliary classifiers has 6,624,904 parameters, 1,025,000 of them its classifier
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 6_624_904 - 1_025_000


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize("side", [1, 31, 224, 256])
def test_map_is_halved_five_times_upwards(in_time, side):
    with torch.device("meta"):
        trunk, x = inception(2, in_time=in_time), torch.empty(1, 2, 17, side, side)
    expected = -(-side // 32)
    assert trunk(x).shape == (1, 1024, 3 if in_time else 17, expected, expected)


@pytest.mark.parametrize("width", [1.0, 0.3, 0.001])
def test_channels_at_the_end_are_as_told(width):
    with torch.device("meta"):
        trunk, x = inception(3, in_time=False, width=width), torch.empty(2, 3, 1, 32, 32)
    assert trunk(x).shape[1] == inception_features(width)
