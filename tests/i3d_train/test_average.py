"""Tests of i3d_train.average."""

import pytest
import torch

from i3d_train.average import WeightAverage
from tests.i3d_train.small_shards import TinyNetwork


def network(value: float) -> TinyNetwork:
    model = TinyNetwork(num_classes=2, stream="rgb")
    for tensor in model.state_dict().values():
        tensor.fill_(value)
    return model


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        pytest.param(0.9, 10_000, 0.1, id="what the decay leaves"),
        pytest.param(0.9999, 1, 1 - 2 / 11, id="the first ones forget the initial weights"),
    ],
)
def test_update_moves_by(decay, step, expected):
    model = network(0)
    average = WeightAverage(model, decay=decay)
    with torch.no_grad():
        model.classifier.weight.fill_(1)
    average.update(step=step)
    torch.testing.assert_close(average.model.classifier.weight, torch.full((2, 8), expected))


def test_batch_norm_averages_are_averaged_too():
    model = network(0)
    average = WeightAverage(model, decay=0.5)
    model.bn.running_mean.fill_(1)
    average.update(step=100)
    torch.testing.assert_close(average.model.bn.running_mean, torch.full((8,), 0.5))


def test_average_is_a_network_of_its_own_for_evaluation():
    model = network(1)
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.conv.weight.fill_(5)
    assert (average.model.conv.weight == 1).all()
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_average_loaded_anew_goes_on():
    model = network(1)
    average = WeightAverage(model, decay=0.5)
    average.model.load_state_dict(network(3).state_dict())
    average.update(step=100)
    torch.testing.assert_close(average.model.conv.weight, torch.full_like(model.conv.weight, 2))
