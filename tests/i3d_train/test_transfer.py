"""Tests of i3d_train.transfer."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from i3d_train import transfer, weights
from tests.i3d_train.small_weights import small_network, write_small

NETWORKS = [
    ("i3d", "rgb"),
    ("i3d", "both"),
    ("convnet_lstm", "rgb"),
    ("c3d", "flow"),
    ("two_stream", "both"),
    ("fused", "both"),
]
HEADS = {
    ("i3d", "rgb"): {"Logits.Conv3d_0c_1x1.weight", "Logits.Conv3d_0c_1x1.bias"},
    ("i3d", "both"): {
        *("rgb.Logits.Conv3d_0c_1x1.weight", "rgb.Logits.Conv3d_0c_1x1.bias"),
        *("flow.Logits.Conv3d_0c_1x1.weight", "flow.Logits.Conv3d_0c_1x1.bias"),
    },
    ("two_stream", "both"): {
        *("classifier.rgb.weight", "classifier.rgb.bias"),
        *("classifier.flow.weight", "classifier.flow.bias"),
    },
}
"""Parameters of the last layer; of the other networks `classifier`."""


def prepared(model, stream, way, tmp_path):
    before = small_network(model, stream=stream, num_classes=3)
    network = small_network(model, stream=stream)
    if way != "original":
        weights.load(network, write_small(tmp_path / "w.safetensors", before, model=model), head=False)
    if way == "fixed":
        transfer.fix(network)
    return network, before


@pytest.mark.parametrize(("model", "stream"), NETWORKS)
def test_fixed_trains_the_last_layer_and_nothing_else(model, stream, tmp_path):
    network, _ = prepared(model, stream, "fixed", tmp_path)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == HEADS.get((model, stream), {"classifier.weight", "classifier.bias"})
    groups = transfer.trained_parameters(network, weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_biases_and_what_normalises_do_not_decay():
    network = small_network("convnet_lstm", stream="rgb")
    decayed, others = transfer.trained_parameters(network, weight_decay=0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0)
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    kinds = [{name_of[id(one)].rpartition(".")[2] for one in group["params"]} for group in (decayed, others)]
    assert kinds[0] == {"weight"}
    assert kinds[1] == {"weight", "bias", "scale", "offset"}
    assert all(".bn." in name_of[id(one)] for one in others["params"] if name_of[id(one)].endswith(".weight"))


@pytest.mark.parametrize("way", ["original", "full"])
def test_original_and_full_train_everything(way, tmp_path):
    network, _ = prepared("i3d", "rgb", way, tmp_path)
    groups = transfer.trained_parameters(network, weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    assert not transfer.is_fixed(network)


@pytest.mark.parametrize("way", ["fixed", "full"])
def test_all_but_the_last_layer_is_carried_over(way, tmp_path):
    network, before = prepared("i3d", "rgb", way, tmp_path)
    there = before.state_dict()
    same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, there[name])}
    assert set(there) - same == HEADS["i3d", "rgb"]


@pytest.mark.parametrize(("model", "stream"), NETWORKS)
def test_batch_norm_of_fixed_parts_stays_in_evaluation(model, stream, tmp_path):
    network, _ = prepared(model, stream, "fixed", tmp_path)
    transfer.training_mode(network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_a_step_of_fixed_changes_the_last_layer_only(tmp_path):
    network, _ = prepared("c3d", "rgb", "fixed", tmp_path)
    transfer.training_mode(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(transfer.trained_parameters(network, weight_decay=0.1), lr=0.1)
    nn.functional.cross_entropy(network(torch.randn(2, 3, 16, 112, 112)), torch.tensor([0, 1])).backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_fixed_features_are_those_of_the_test_and_dropped_before_the_last_layer(tmp_path):
    # C3D also drops between its fully connected layers, which fixed features must not
    network, _ = prepared("c3d", "rgb", "fixed", tmp_path)
    x = torch.randn(1, 3, 16, 112, 112)
    wanted = network.step_features(x)
    transfer.training_mode(network)
    assert torch.equal(network.step_features(x), wanted)
    assert {name for name, module in network.named_modules() if module.training} == {"", "dropout", "classifier"}


def test_full_trains_as_ever(tmp_path):
    network, _ = prepared("i3d", "rgb", "full", tmp_path)
    transfer.training_mode(network)
    assert all(module.training for module in network.modules())
