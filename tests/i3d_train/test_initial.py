"""Tests of i3d_train.initial."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from i3d_train import checkpoint
from i3d_train.initial import initial_network
from i3d_train.trainer import Trainer
from preprocess.errors import InvalidInput
from tests.i3d_train.googlenet import GoogLeNet
from tests.i3d_train.released_files import random_i3d, released_variables, same_tensors, write_released


def test_batch_norm_momentum_follows_the_length_of_the_run(config):
    model = initial_network(replace(config, model="i3d"), labels=("dark", "light"), steps=500)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    assert {norm.momentum for norm in norms} == {0.02}


def test_batch_norm_momentum_given_is_taken_and_each_label_has_a_logit(config):
    model = initial_network(replace(config, bn_momentum=0.5), labels=("dark", "gray", "light"), steps=10)
    assert (model.bn.momentum, model.num_classes) == (0.5, 3)


@pytest.mark.parametrize(("given", "p"), [(None, 0.5), (0.0, 0.0), (0.25, 0.25)])
def test_dropout(given, p, config):
    assert initial_network(replace(config, dropout=given), labels=("dark", "light"), steps=10).dropout.p == p


def test_width_makes_a_smaller_network(config):
    narrow, whole = (
        initial_network(replace(config, model="i3d", width=width), labels=("dark", "light"), steps=10)
        for width in (0.25, 1.0)
    )
    sizes = [sum(p.numel() for p in model.parameters()) for model in (narrow, whole)]
    assert sizes[0] < sizes[1] / 10


def test_weights_of_the_same_classes_are_all_taken(config, tmp_path):
    first = Trainer(config)
    first.train_step()
    path = checkpoint.save(tmp_path, first.checkpoint(), keep=1)
    assert same_tensors(Trainer(replace(config, weights=path)).model, first.model)


def test_weights_of_other_classes_lend_all_but_the_classifier(config, tmp_path, caplog):
    first = Trainer(config)
    first.train_step()
    other_names = replace(first.checkpoint(), labels=("cat", "dog"))
    path = checkpoint.save(tmp_path, other_names, keep=1)
    with caplog.at_level(logging.WARNING):
        second = Trainer(replace(config, weights=path)).model
    assert "the classifier starts anew" in caplog.text
    assert torch.equal(second.conv.weight, first.model.conv.weight)
    assert not torch.equal(second.classifier.weight, first.model.classifier.weight)


@pytest.mark.parametrize("classes", [2, 5])
def test_released_weights_start_a_run_with_their_classifier_where_it_has_as_many_classes(
    classes, config, tmp_path, caplog
):
    released = random_i3d(num_classes=classes, stream="rgb", width=1 / 16)
    path = write_released(tmp_path / "w.npz", released_variables(released))
    given = replace(config, model="i3d", width=1 / 16, weights=path)
    model = initial_network(given, labels=("dark", "light"), steps=10)
    unit, head = "Mixed_5c.Branch_0.Conv3d_0a_1x1.conv", "Logits.Conv3d_0c_1x1"
    assert torch.equal(model.get_submodule(unit).weight, released.get_submodule(unit).weight)
    assert torch.equal(model.get_submodule(head).weight, released.get_submodule(head).weight) == (classes == 2)
    assert ("w.npz has 5 classes, the shards have 2, or other ones" in caplog.text) == (classes == 5)


def test_a_run_without_weights_starts_from_inflated_filters(config, tmp_path):
    flat = GoogLeNet(width=1 / 8)
    torch.save(flat.state_dict(), tmp_path / "2d.pth")
    given = replace(config, model="i3d", width=1 / 8, inflate=tmp_path / "2d.pth", transfer="original")
    model = initial_network(given, labels=("dark", "light"), steps=10)
    kernel = model.get_submodule("Mixed_3b.Branch_0.Conv3d_0a_1x1").conv.weight
    assert torch.equal(kernel[:, :, 0], flat.inception3a.branch1.conv.weight)


def test_weights_of_another_network_fails(config, tmp_path):
    path = checkpoint.save(tmp_path, Trainer(config).checkpoint(), keep=1)
    with pytest.raises(InvalidInput, match=r"holds weights of tiny, not of i3d"):
        Trainer(replace(config, model="i3d", weights=path))


def test_rgb_weights_for_flow_fails(config, tmp_path):
    path = checkpoint.save(tmp_path, Trainer(config).checkpoint(), keep=1)
    with pytest.raises(InvalidInput, match=r"checkpoint-0\.pt holds weights for (stream )?rgb.* flow"):
        Trainer(replace(config, stream="flow", weights=path))


def test_folder_of_a_run_stands_for_its_best_weights(config, tmp_path):
    newer, best = Trainer(config), Trainer(replace(config, seed=1))
    checkpoint.save(tmp_path, newer.checkpoint(), keep=1)
    checkpoint.save_best(tmp_path, best.checkpoint())
    model = initial_network(replace(config, weights=tmp_path), labels=("dark", "light"), steps=10)
    assert same_tensors(model, best.model)


def test_folder_without_a_run_fails(config, tmp_path):
    with pytest.raises(InvalidInput, match=r"holds no checkpoint of a run; give the folder of a run, or a file"):
        initial_network(replace(config, weights=tmp_path), labels=("dark", "light"), steps=10)


def test_full_transfer_starts_the_classifier_anew(config, tmp_path):
    first = Trainer(config)
    path = checkpoint.save(tmp_path, first.checkpoint(), keep=1)
    changed = replace(config, weights=path, transfer="full")
    model = initial_network(changed, labels=("dark", "light"), steps=10)
    assert torch.equal(model.conv.weight, first.model.conv.weight)
    assert not torch.equal(model.classifier.weight, first.model.classifier.weight)
