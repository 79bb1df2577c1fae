"""Tests of i3d_train.memory_layout."""

import pytest
import torch
from torch import nn

from i3d_train.memory_layout import arrange


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        (nn.Conv3d(4, 6, 3), torch.channels_last_3d),
        (nn.Conv2d(4, 6, 3), torch.channels_last),
    ],
)
def test_convolutions_change_their_layout_and_not_their_values(layer, layout):
    before = layer.weight.detach().clone()
    arrange(layer, channels_last=True)
    assert layer.weight.is_contiguous(memory_format=layout)
    assert torch.equal(layer.weight, before)


def test_nothing_is_done_unless_asked():
    layer = nn.Conv3d(4, 6, 3)
    assert arrange(layer, channels_last=False) == torch.contiguous_format
    assert layer.weight.is_contiguous()


def test_answers_stay_the_same():
    layer = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(1, 2, 3, 3, 3)
    before = layer(x)
    layout = arrange(layer, channels_last=True)
    torch.testing.assert_close(layer(x.contiguous(memory_format=layout)), before)
