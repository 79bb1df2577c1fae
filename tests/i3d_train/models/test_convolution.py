"""Tests of i3d_train.models.convolution."""

from statistics import NormalDist

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from i3d_train.models.convolution import (
    ConvUnit,
    MaxPoolSame,
    check_variance,
    initialise,
    pad_same,
    same_padding,
    scaled,
)
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
    padded, rest = pad_same(x, kernel=(7, 2, 3), stride=(1, 1, 1), edge_in_time=True)
    assert padded[0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 2, 3, 3, 3, 3]
    assert padded[0, 0, :, 1, :].unique().tolist() == [0]
    assert rest == (0, 0, 1)


@pytest.mark.parametrize("size", [(5, 7, 7), (5, 8, 7), (1, 2, 6)])
@pytest.mark.parametrize("stride", [1, 2])
def test_what_a_layer_pads_is_as_if_all_were_padded_before(size, stride):
    x = torch.rand(2, 3, *size)
    pads = [amount for length in reversed(size) for amount in same_padding(length, kernel=3, stride=stride)]
    kernel, strides = (3, 3, 3), (stride,) * 3
    unit, pool = ConvUnit(3, 4, kernel=kernel, stride=strides).eval(), MaxPoolSame(kernel=kernel, stride=strides)
    torch.testing.assert_close(unit(x), F.relu(unit.bn(unit.conv(F.pad(x, pads)))))
    # all values are below the zeros that a convolution pads with
    assert torch.equal(pool(x - 2), F.max_pool3d(F.pad(x - 2, pads, value=-torch.inf), kernel, strides))


def test_pool_of_even_and_odd_lengths_passes_gradients_as_a_padded_one():
    x = torch.randint(0, 3, (2, 3, 4, 6, 5)).float().requires_grad_()
    padded_x = x.detach().clone().requires_grad_()
    # 4 and 6 get one zero after, 5 one at both ends
    MaxPoolSame(kernel=(3, 3, 3), stride=(2, 2, 2))(x).square().sum().backward()
    F.max_pool3d(F.pad(padded_x, (1, 1, 0, 1, 0, 1)), 3, 2).square().sum().backward()
    assert torch.equal(x.grad, padded_x.grad)


@pytest.mark.parametrize(
    "layer",
    [
        ConvUnit(1, 1, kernel=(3, 3, 3)),
        MaxPoolSame(kernel=(3, 3, 3), stride=(1, 1, 1)),
        MaxPoolSame(kernel=(3, 3, 3), stride=(2, 2, 2)),
    ],
    ids=["conv", "pool", "unevenly padded pool"],
)
def test_nothing_padded_is_kept_for_the_backward_pass(layer):
    x, kept = torch.rand(1, 1, 4, 4, 4, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        layer(x)
    assert x.data_ptr() in kept


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


@pytest.mark.parametrize("layer", [nn.Conv3d(4, 500, (2, 3, 5)), nn.Linear(120, 500)], ids=["kernel", "matrix"])
def test_first_weights_are_a_gaussian_of_the_inputs_cut_at_two_deviations(layer):
    torch.manual_seed(0)
    initialise(layer)
    assert not layer.bias.any()
    # 4 x 2 x 3 x 5 inputs, or 120
    deviations = layer.weight.detach().double().flatten() * 120**0.5
    assert 1.99 < float(deviations.max()) <= 2.0001
    assert -2.0001 <= float(deviations.min()) < -1.99
    share, normal = torch.linspace(0.05, 0.95, 19, dtype=torch.float64), NormalDist()
    left, right = normal.cdf(-2), normal.cdf(2)
    expected = [normal.inv_cdf(left + (right - left) * one) for one in share.tolist()]
    assert deviations.quantile(share).tolist() == pytest.approx(expected, abs=0.03)


def test_channels_never_vanish():
    assert [scaled(channels, 0.01) for channels in (16, 1024)] == [1, 10]


def test_training_on_one_value_a_channel_fails():
    unit = ConvUnit(3, 4, kernel=(3, 3, 3), stride=(2, 2, 2)).train()
    with pytest.raises(InvalidInput, match=r"more than one value a channel; use at least 2 clips .* of it that --acc"):
        unit(torch.zeros(1, 3, 2, 2, 2))
    assert unit(torch.zeros(2, 3, 2, 2, 2)).shape == (2, 4, 1, 1, 1)
    assert unit.eval()(torch.zeros(1, 3, 2, 2, 2)).shape == (1, 4, 1, 1, 1)


def test_one_value_a_channel_may_do_where_other_processes_have_more():
    check_variance(nn.SyncBatchNorm(4), torch.zeros(1, 4))
