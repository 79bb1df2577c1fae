"""Tests of i3d_train.trainer."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from i3d_train import checkpoint
from i3d_train.errors import TrainingDiverged
from i3d_train.events import Validated, ignore
from i3d_train.process_group import ProcessGroup
from i3d_train.trainer import Trainer
from preprocess.errors import EnvironmentProblem, InvalidInput
from tests.i3d_train.released_files import same_tensors
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


def test_bf16_keeps_float32_weights_and_trains(config, caplog):
    trainer = Trainer(replace(config, precision="bf16"))
    assert "gradients of 3-D convolutions in bf16 are wrong on some CPUs" in caplog.text
    before = clone(trainer)
    trainer.train_step()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert not same_parameters(before, trainer.model)


def test_flow_is_trained_on_flow(config):
    trainer = Trainer(replace(config, stream="flow"))
    trainer.train_step()
    assert trainer.model.conv.weight.shape[1] == 2


def test_no_val_split_means_no_validation(config, tmp_path):
    folder = write_set(tmp_path / "shards", {"train": noisy_clips("train", [0, 1, 0, 1])})
    trainer = Trainer(replace(config, shards=folder, steps=1))
    trainer.train_step()
    assert not trainer.validation_is_due()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stream": "flow"}, r"run has stream flow, this one stream rgb; give --stream flow to go on with it, or anot"),
        (
            {"model_name": "i3d", "config": {"width": 0.5, "transfer": None}},
            r"has model i3d and width 0\.5, this one model tiny and width 1\.0; give --model i3d, --width 0\.5 to go",
        ),
        ({"labels": ("dark", "dog")}, r"number 1 is 'dog' there and 'light' here; give the shards of that run, or an"),
        ({"labels": ("dark",)}, r"number 1 is None there and 'light' here"),
        ({"config": {"transfer": None}}, r"has width None, this one width 1\.0"),
        ({"loader": {"batch": 0}}, r"checkpoint of step 0 in .* is damaged \(KeyError\('clips_per_step'\)\); use an"),
        ({"model": {}}, r"is damaged \(RuntimeError\('Error\(s\) in loading state_dict for TinyNetwork"),
        ({"optimizer": {}}, r"is damaged \(KeyError\('state'\)\)"),
        ({"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(1)}}}}, r"a momentum is \[1\], its param.* \[8,"),
        ({"schedule": {"drops": "x", "waited": 0, "best": 0.0}}, r"is damaged \(ValueError\("),
        ({"rng": [{"cpu": torch.zeros(3)}]}, r"is damaged \(TypeError\('RNG state must be a torch.ByteTensor'\)\)"),
    ],
)
def test_checkpoint_of_another_run_fails(change, message, config):
    trainer = Trainer(config)
    with pytest.raises(InvalidInput, match=message):
        trainer.restore(replace(trainer.checkpoint(), **change))


def test_resumed_run_has_the_momentum_and_decay_that_it_was_given(config):
    saved = deepcopy(Trainer(replace(config, momentum=0.9, weight_decay=0.25)).checkpoint())
    trainer = Trainer(replace(config, momentum=0.5, weight_decay=0.125))
    trainer.restore(saved)
    groups = [(group["momentum"], group["weight_decay"]) for group in trainer.optimizer.param_groups]
    assert groups == [(0.5, 0.125), (0.5, 0.0)]


def frozen(config, **changes):
    """Without what makes the parts of a step differ from the whole: BatchNorm over clips, and dropout."""
    return replace(config, freeze_bn=True, dropout=0.0, **changes)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_step_give_the_update_of_the_whole(config, parts):
    whole, cut = Trainer(frozen(config)), Trainer(frozen(config, accumulate=parts))
    for _ in range(3):
        assert cut.train_step().loss == pytest.approx(whole.train_step().loss, rel=1e-6)
    for left, right in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("before", "now"), [(1, 2), (4, 1)])
def test_run_goes_on_inside_an_epoch_in_other_parts(config, before, now):
    first = Trainer(frozen(config, accumulate=before))
    first.train_step()
    second = Trainer(frozen(config, accumulate=now))
    second.restore(deepcopy(first.checkpoint()))
    for _ in range(2):
        assert second.train_step().loss == pytest.approx(first.train_step().loss, rel=1e-6)


def test_other_processes_go_on_with_the_same_clips_and_random_numbers_of_their_own(config, monkeypatch):
    monkeypatch.setattr("i3d_train.trainer.DistributedDataParallel", lambda model: model)
    alone = Trainer(replace(config, seed=5))
    alone.train_step()
    saved = deepcopy(alone.checkpoint())
    keys = []
    for rank in (0, 1):
        trainer = Trainer(replace(config, seed=5, batch_size=2), group=ProcessGroup(rank=rank, size=2))
        trainer.restore(saved)
        # one step of two processes was done: no process and no step has this seed twice
        expected = torch.rand(5, generator=torch.Generator().manual_seed(5 + 1 * 2 + rank))
        assert torch.equal(torch.rand(5), expected)
        keys += [key for batch in trainer.feed.next_step() for key in batch["key"]]
    assert sorted(keys) == sorted(key for batch in alone.feed.next_step() for key in batch["key"])
    assert len(set(keys)) == 4


def test_frozen_batch_norm_stays_through_a_validation(config):
    trainer = Trainer(frozen(config))
    before = trainer.model.bn.running_mean.clone()
    trainer.train_step()
    trainer.validate(ignore)
    trainer.train_step()
    assert torch.equal(trainer.model.bn.running_mean, before)
    assert trainer.model.dropout.training


def test_gradient_is_cut_to_its_length(config):
    cut = Trainer(replace(config, clip_norm=1e-3, momentum=0.0, weight_decay=0.0))
    before = clone(cut)
    done = cut.train_step()
    moved = [b - a for a, b in zip(before.parameters(), cut.model.parameters(), strict=True)]
    assert done.gradient_norm > 1e-3
    assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(done.lr * 1e-3, rel=1e-3)


def test_short_gradient_is_left_alone(config):
    plain, cut = Trainer(frozen(config)), Trainer(frozen(config, clip_norm=1e6))
    plain.train_step()
    cut.train_step()
    assert same_parameters(plain.model, cut.model)


def test_label_smoothing_is_in_the_loss(config):
    plain, smooth = Trainer(config).train_step(), Trainer(replace(config, label_smoothing=0.5)).train_step()
    assert plain.loss != smooth.loss


def test_running_average_is_what_is_validated(config):
    trainer = Trainer(replace(config, ema=0.5))
    trainer.train_step()
    with torch.no_grad():
        trainer.average.model.classifier.weight.zero_()
        trainer.average.model.classifier.bias.copy_(torch.tensor([9.0, -9.0]))
    validated, *_ = trainer.validate(ignore)
    # two of the three clips are of the first class, which the average now always answers
    assert validated.top1 == pytest.approx(2 / 3)
    assert validated.loss == pytest.approx(6, rel=1e-3)


def test_run_that_starts_an_average_on_resuming_starts_it_from_the_weights(config):
    first = Trainer(config)
    first.train_step()
    second = Trainer(replace(config, ema=0.5))
    second.restore(first.checkpoint())
    assert same_tensors(second.average.model, first.model)


def test_measured_batch_norm_is_the_same_after_resuming(config):
    first, second = (Trainer(replace(config, precise_bn=3)) for _ in range(2))
    first.train_step()
    saved = deepcopy(first.checkpoint())
    first.validate(ignore)
    # measured once already, where the first has not
    second.validate(ignore)
    second.restore(saved)
    second.validate(ignore)
    assert same_tensors(first.model, second.model)


def test_fp16_keeps_float32_weights_and_trains(config):
    trainer = Trainer(replace(config, precision="fp16"))
    before = clone(trainer)
    # the scale starts high, and the first updates may be skipped for it
    while trainer.train_step().gradient_norm is None:
        assert trainer.step < 10
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert not same_parameters(before, trainer.model)


def test_gradient_in_fp16_is_told_and_cut_without_its_scale(config):
    plain, scaled = Trainer(config), Trainer(replace(config, precision="fp16"))
    scaled._scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    # fp16 rounds, but not by a factor of 8
    assert scaled.train_step().gradient_norm == pytest.approx(plain.train_step().gradient_norm, rel=0.5)


def test_overflow_in_fp16_skips_the_update_and_scales_less(config):
    trainer = Trainer(replace(config, precision="fp16"))
    trainer._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = clone(trainer)
    done = trainer.train_step()
    assert done.gradient_norm is None
    assert same_parameters(before, trainer.model)
    assert trainer.checkpoint().scaler["scale"] == 2.0**39


def test_overflow_in_fp16_that_no_scale_cures_fails(config, monkeypatch):
    trainer = Trainer(replace(config, precision="fp16"))
    trainer._scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    monkeypatch.setattr(nn.utils, "get_total_norm", lambda gradients: torch.tensor(torch.inf))
    with pytest.raises(TrainingDiverged, match=r"gradient norm inf"):
        trainer.train_step()


@pytest.mark.parametrize(
    ("before", "now", "scale"), [("fp16", "fp16", 8.0), ("fp32", "fp16", 2.0**16), ("fp16", "fp32", 1.0)]
)
def test_loss_scale_goes_on_where_it_was(before, now, scale, config):
    first, second = (Trainer(replace(config, precision=precision)) for precision in (before, now))
    first._scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=before == "fp16")
    second.restore(first.checkpoint())
    assert second._scaler.get_scale() == scale


def test_processes_start_from_the_same_weights_and_drop_other_features(config, monkeypatch):
    monkeypatch.setattr("i3d_train.trainer.DistributedDataParallel", lambda model: model)
    models, drawn = [], []
    for rank in (0, 1):
        models.append(Trainer(config, group=ProcessGroup(rank=rank, size=2)).model)
        drawn.append(torch.rand(5))
    assert same_tensors(*models)
    assert not torch.equal(*drawn)


def test_channels_last_trains_alike(config):
    plain, innermost = Trainer(frozen(config)), Trainer(frozen(config, channels_last=True))
    assert innermost.model.conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    for _ in range(2):
        assert innermost.train_step().loss == pytest.approx(plain.train_step().loss, rel=1e-5)


def test_best_is_the_highest_accuracy_so_far(config, monkeypatch):
    trainer = Trainer(config)
    found = iter([0.5, 0.5, 0.75, 0.25])

    def run(model, *, step, observe, should_stop):
        return Validated(step=step, loss=1.0, top1=next(found), top5=1.0, clips=3)

    monkeypatch.setattr(trainer.validation, "run", run)
    assert [trainer.validate(ignore)[1] for _ in range(4)] == [True, False, True, False]
    assert trainer.best_top1 == 0.75


def test_best_accuracy_so_far_is_known_after_resuming(config):
    first, second = (Trainer(replace(config, validate_every=1)) for _ in range(2))
    first.train_step()
    first.validate(ignore)
    first.best_top1 = 1.0
    second.restore(first.checkpoint())
    assert not second.validation_is_due()
    _, best, _ = second.validate(ignore)
    assert not best


def test_scores_on_another_split_are_no_measure_after_resuming(config):
    config = replace(config, validate_every=1, schedule="plateau", patience=1)
    first = Trainer(config)
    first.best_top1 = 1.0
    first.schedule.validated(0.0)
    for split, taken in (("val", False), ("train", True)):
        second = Trainer(replace(config, val_split=split))
        second.restore(first.checkpoint())
        _, best, drops = second.validate(ignore)
        assert (best, drops) == (taken, not taken)


def test_network_that_is_trained_on_its_steps_is_asked_for_them(config):
    trainer = Trainer(frozen(config))
    loss_of_clips = Trainer(frozen(config)).train_step().loss
    trainer.model.loss_at_every_step = True

    def forward(x, *, every_step):
        assert every_step
        logits_BK = trainer.model(x)
        # a second step that knows nothing
        return torch.stack([logits_BK, torch.zeros_like(logits_BK)], dim=2)

    trainer._forward = forward
    assert trainer.train_step().loss == pytest.approx((loss_of_clips + math.log(2)) / 2, rel=1e-6)


def test_fixed_transfer_trains_the_last_layer_and_leaves_the_rest(config, tmp_path):
    before = Trainer(config)
    path = checkpoint.save(tmp_path, before.checkpoint(), keep=1)
    trainer = Trainer(replace(config, weights=path, transfer="fixed", ema=0.5))
    for _ in range(2):
        trainer.train_step()
    trainer.validate(ignore)
    trainer.train_step()
    now, then = trainer.model.state_dict(), before.model.state_dict()
    changed = {name for name in now if not torch.equal(now[name], then[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_transfer_cannot_change_on_resuming_fails(config):
    trainer = Trainer(config)
    other = replace(trainer.checkpoint(), config=config.to_json() | {"transfer": "full"})
    with pytest.raises(InvalidInput, match=r"transfer full, this one transfer None; give --transfer full to go on"):
        trainer.restore(other)
    full = Trainer(replace(config, transfer="original"))
    with pytest.raises(InvalidInput, match=r"transfer None, this one transfer original; give no --transfer to go on"):
        full.restore(trainer.checkpoint())


def test_memory_that_is_too_small_names_what_would_fit_fails(config):
    trainer = Trainer(replace(config, accumulate=2))

    def forward(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer._forward = forward
    with pytest.raises(EnvironmentProblem, match=r"too small for 2 clips at a time; use --accumulate 4 or more"):
        trainer.train_step()
