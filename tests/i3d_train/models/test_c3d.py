"""Tests of i3d_train.models.c3d."""

import pytest
import torch
from torch import nn

from i3d_train.models.convolution import MaxPoolSame
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import clips, on_meta, small


def test_layers_are_the_papers():
    kernels = [module for module in on_meta("c3d", "rgb").modules() if isinstance(module, nn.Conv3d)]
    outputs = [kernel.out_channels for kernel in kernels]
    assert outputs == [64, 128, 256, 256, 512, 512, 512, 512, 4096, 4096]
    assert {kernel.kernel_size for kernel in kernels[:8]} == {(3, 3, 3)}
    assert kernels[8].weight.shape == (4096, 512, 1, 4, 4)
    pools = [module for module in on_meta("c3d", "rgb").modules() if isinstance(module, MaxPoolSame)]
    assert [pool.stride for pool in pools] == [(2, 2, 2)] * 5
    # after each of the fully connected layers
    names = [name for name, _ in on_meta("c3d", "rgb").named_modules()]
    assert [names[names.index(drop) - 1] for drop in names if "dropout" in drop] == ["layers.fc6.bn", "layers.fc7.bn"]


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (16, 1), (32, 1), (33, 2), (240, 8)])
def test_steps(frames, steps):
    x = torch.empty(2, 3, frames, 112, 112, device="meta")
    assert on_meta("c3d", "rgb")(x, every_step=True).shape == (2, 400, steps)


def test_larger_frames_average_positions():
    network, x = small("c3d", "rgb"), clips("c3d", "rgb", side=129)
    with torch.inference_mode():
        maps = network.layers(x)
        assert maps.shape[3:] == (2, 2)
        torch.testing.assert_close(network.step_features(x), maps.flatten(3).mean(dim=3))


def test_too_few_pixels_fails():
    with pytest.raises(InvalidInput, match=r"C3D for rgb needs at least 97x97 pixels, got 112x96; use a larger crop"):
        small("c3d", "rgb")(torch.zeros(1, 3, 16, 112, 96))
    assert small("c3d", "rgb")(torch.zeros(1, 3, 1, 97, 97)).shape == (1, 5)
