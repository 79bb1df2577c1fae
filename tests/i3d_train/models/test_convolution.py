"""Tests of i3d_train.models.convolution."""

import pytest
import torch
from torch import nn

from i3d_train.models.convolution import ConvUnit, MaxPoolSame, pad_same, same_padding, scaled
from preprocess.errors import InvalidInput


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "expected"),
    [
        (224, 7, 2, (2, 3)),
        (225, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (125, 3, 2, (1, 1)),
        (64, 2, 2, (0, 0)),
        (63, 2, 2, (0, 1)),
        (5, 3, 1, (1, 1)),
        (9, 1, 1, (0, 0)),
    ],
)
def test_same_padding(length, kernel, stride, expected):
    assert same_padding(length, kernel=kernel, stride=stride) == expected


def test_edges_in_time_are_repeated_and_space_is_padded_with_zeros():
    x = torch.arange(1.0, 4).reshape(1, 1, 3, 1, 1)
    padded = pad_same(x, kernel=(7, 3, 3), stride=(1, 1, 1), edge_in_time=True)
    assert padded[0, 0, :, 1, 1].tolist() == [1, 1, 1, 1, 2, 3, 3, 3, 3]
    assert padded[0, 0, :, 0, :].unique().tolist() == [0]


def test_odd_length_is_pooled_with_its_last_step():
    x = torch.zeros(1, 1, 63, 2, 2)
    x[:, :, 62] = 5.0
    pooled = MaxPoolSame(kernel=(2, 2, 2), stride=(2, 2, 2))(x)
    assert pooled.flatten().tolist() == [0.0] * 31 + [5.0]


def test_convolution_pads_each_axis_for_its_own_length():
    unit = ConvUnit(1, 1, kernel=(7, 7, 7), stride=(2, 2, 2)).eval()
    nn.init.ones_(unit.conv.weight)
    # of ones, each output counts the input positions under its kernel
    counts = unit(torch.ones(1, 1, 8, 9, 8))[0, 0] * (1 + 1e-3) ** 0.5
    even, odd = [5.0, 7.0, 6.0, 4.0], [4.0, 6.0, 7.0, 6.0, 4.0]
    expected = torch.einsum("t,h,w->thw", torch.tensor(even), torch.tensor(odd), torch.tensor(even))
    torch.testing.assert_close(counts, expected)


def test_unpadded_convolution_takes_whole_windows_only():
    unit = ConvUnit(1, 1, kernel=(1, 4, 4), padded=False).eval()
    assert unit(torch.zeros(1, 1, 2, 5, 4)).shape == (1, 1, 2, 2, 1)


def test_channels_never_vanish():
    assert [scaled(channels, 0.01) for channels in (16, 1024)] == [1, 10]


def test_training_on_one_value_a_channel_fails():
    unit = ConvUnit(3, 4, kernel=(3, 3, 3), stride=(2, 2, 2)).train()
    with pytest.raises(InvalidInput, match=r"more than one value a channel; use at least 2 clips a batch"):
        unit(torch.zeros(1, 3, 2, 2, 2))
    assert unit(torch.zeros(2, 3, 2, 2, 2)).shape == (2, 4, 1, 1, 1)
