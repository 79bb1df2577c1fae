"""Tests of i3d_train.models.fused."""

import pytest
import torch

from i3d_train.models.fused import Fused
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import clips, on_meta, seen, small


def test_new_layers_are_the_papers():
    network = on_meta("fused", "both")
    assert isinstance(network, Fused)
    assert network.fusion[0].conv.weight.shape == (512, 2048, 3, 3, 3)
    assert network.fusion[1].kernel == (3, 3, 3)
    assert network.classifier.in_features == 512


def test_maps_before_the_fusion_are_the_papers():
    maps = []
    network = on_meta("fused", "both")
    network.fusion.register_forward_pre_hook(lambda _, arguments: maps.append(arguments[0].shape))
    network(seen("both", rgb=5, flow=50, side=224))
    assert maps == [(1, 2048, 5, 7, 7)]


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (5, 3), (25, 13)])
def test_steps(frames, steps):
    x = seen("both", rgb=frames, flow=10 * frames, side=224)
    assert on_meta("fused", "both")(x, every_step=True).shape == (1, 400, steps)


@pytest.mark.parametrize("other", ["rgb", "flow"])
def test_both_streams_of_the_first_frame_reach_the_last_step(other):
    network, x = small("fused", "both"), clips("fused", "both")
    with torch.inference_mode():
        before = network(x, every_step=True)
        x[other][:, :, 0] = 1.0
        assert not torch.equal(network(x, every_step=True)[..., -1], before[..., -1])


def test_too_few_flow_fields_fails():
    x = {"rgb": torch.zeros(1, 3, 1, 32, 32), "flow": torch.zeros(1, 2, 5, 32, 32)}
    with pytest.raises(InvalidInput, match=r"Fused for flow needs T >= 10 frames, got T = 5"):
        small("fused", "both")(x)
