"""Tests of i3d_train.trainer."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from i3d_train import checkpoint
from i3d_train.errors import TrainingDiverged
from i3d_train.trainer import Pace, Trainer
from preprocess.errors import InvalidInput
from tests.i3d_train.released_files import random_i3d, released_variables, same_tensors, write_released
from tests.i3d_train.small_shards import noisy_clips, write_set


def clone(trainer: Trainer) -> nn.Module:
    copy = type(trainer.model)(num_classes=trainer.model.num_classes, stream=trainer.model.stream)
    copy.load_state_dict(trainer.model.state_dict())
    return copy


def same_parameters(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True))


def test_step_updates_as_sgd_with_momentum_and_decay(config):
    trainer = Trainer(replace(config, momentum=0.5, weight_decay=0.25, lr=0.1, lr_drop_steps=(1,)))
    trainer.train_step()
    before = clone(trainer).classifier.weight.detach().clone()
    velocity = trainer.optimizer.state[trainer.model.classifier.weight]["momentum_buffer"].clone()
    done = trainer.train_step()
    gradient = trainer.model.classifier.weight.grad + 0.25 * before
    assert done.lr == pytest.approx(0.01)
    expected = before - 0.01 * (0.5 * velocity + gradient)
    torch.testing.assert_close(trainer.model.classifier.weight.detach(), expected)


def test_nan_loss_stops_before_the_update_fails(config):
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.classifier.bias[0] = torch.nan
    before = clone(trainer)
    with pytest.raises(TrainingDiverged, match=r"step 1: loss nan, .* was not updated\. Clips: train"):
        trainer.train_step()
    assert same_parameters(before.conv, trainer.model.conv)
    assert not trainer.optimizer.state
    assert trainer.step == 0


def test_infinite_gradient_stops_before_the_update_fails(config, monkeypatch):
    trainer = Trainer(config)
    before = clone(trainer)
    monkeypatch.setattr(nn.utils, "get_total_norm", lambda gradients: torch.tensor(torch.inf))
    with pytest.raises(TrainingDiverged, match=r"gradient norm inf at learning rate 0\.1"):
        trainer.train_step()
    assert same_parameters(before, trainer.model)


def test_same_seed_same_start(config):
    assert same_tensors(Trainer(config).model, Trainer(config).model)


def test_another_seed_another_start(config):
    assert not same_tensors(Trainer(config).model, Trainer(replace(config, seed=1)).model)


def test_bf16_keeps_float32_weights_and_trains(config):
    trainer = Trainer(replace(config, precision="bf16"))
    before = clone(trainer)
    trainer.train_step()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert not same_parameters(before, trainer.model)


def test_batch_norm_momentum_follows_the_length_of_the_run(config):
    trainer = Trainer(replace(config, steps=500, model="i3d"))
    norms = [module for module in trainer.model.modules() if isinstance(module, nn.BatchNorm3d)]
    assert {norm.momentum for norm in norms} == {0.02}


def test_flow_is_trained_on_flow(config):
    trainer = Trainer(replace(config, stream="flow"))
    trainer.train_step()
    assert trainer.model.conv.weight.shape[1] == 2


def test_no_val_split_means_no_validation(config, tmp_path, caplog):
    folder = write_set(tmp_path / "shards", {"train": noisy_clips("train", [0, 1, 0, 1])})
    with caplog.at_level(logging.WARNING):
        assert not Trainer(replace(config, shards=folder)).has_validation
    assert "has no val split: no validation" in caplog.text


def test_unlabelled_val_split_means_no_validation(config, tmp_path, caplog):
    splits = {"train": noisy_clips("train", [0, 1, 0, 1]), "val": noisy_clips("val", [-1])}
    with caplog.at_level(logging.WARNING):
        assert not Trainer(replace(config, shards=write_set(tmp_path / "shards", splits))).has_validation
    assert "no clip of the val split has a label" in caplog.text


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


def test_released_weights_start_a_run_on_other_classes(config, tmp_path):
    released = random_i3d(num_classes=5, stream="rgb")
    path = write_released(tmp_path / "w.npz", released_variables(released))
    model = Trainer(replace(config, model="i3d", weights=path)).model
    assert model.num_classes == 2
    assert torch.equal(
        model.get_submodule("Mixed_5c.Branch_0.Conv3d_0a_1x1").conv.weight,
        released.get_submodule("Mixed_5c.Branch_0.Conv3d_0a_1x1").conv.weight,
    )


def test_weights_of_another_network_fails(config, tmp_path):
    path = checkpoint.save(tmp_path, Trainer(config).checkpoint(), keep=1)
    with pytest.raises(InvalidInput, match=r"holds weights of tiny, not of i3d"):
        Trainer(replace(config, model="i3d", weights=path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stream": "flow"}, r"has stream flow, now they are rgb"),
        ({"model_name": "i3d"}, r"has model i3d, now they are tiny"),
        ({"labels": ("cat", "dog")}, r"has class names \('cat', 'dog'\), now they are \('dark', 'light'\)"),
    ],
)
def test_checkpoint_of_another_run_fails(change, message, config):
    trainer = Trainer(config)
    with pytest.raises(InvalidInput, match=message):
        trainer.restore(replace(trainer.checkpoint(), **change))


def test_pace_leaves_out_the_first_step():
    pace = Pace()
    pace.add(clips=4, wait_s=50.0, step_s=100.0)
    pace.add(clips=4, wait_s=1.0, step_s=2.0)
    pace.add(clips=4, wait_s=0.0, step_s=2.0)
    assert (pace.clips_per_s, pace.wait_share) == (2.0, 0.25)
    assert pace.recent() == (2.0, 0.25)


def test_pace_of_a_single_step_is_that_step():
    pace = Pace()
    pace.add(clips=4, wait_s=1.0, step_s=2.0)
    assert (pace.clips_per_s, pace.wait_share) == (2.0, 0.5)
    assert pace.recent() == (2.0, 0.5)
