"""Tests of i3d_train.config."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i3d_train.config import DEFAULT_EPOCHS, TrainConfig
from preprocess.errors import InvalidInput

DEFAULT = TrainConfig(shards=Path("shards"), out=Path("run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "i4d"}, r"model 'i4d' is unknown; use one of i3d"),
        ({"stream": "depth"}, r"stream 'depth' is unknown; use one of rgb, flow"),
        ({"device": "tpu"}, r"device 'tpu' is unknown; use one of auto, cpu, cuda"),
        ({"precision": "fp16"}, r"precision 'fp16' is unknown; use one of auto, bf16, fp32"),
        ({"loader": "decord"}, r"loader 'decord' is unknown; use one of auto, dali, torch"),
        ({"frames": 8}, r"frames must be at least 9, got 8"),
        ({"crop": 0}, r"crop must be at least 1, got 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        ({"steps": 0}, r"steps must be at least 1, got 0"),
        ({"epochs": -1}, r"epochs must be at least 1, got -1"),
        ({"steps": 5, "epochs": 5}, r"steps 5 and epochs 5 both set the length"),
        ({"lr": 0.0}, r"lr must be positive, got 0\.0"),
        ({"lr": float("nan")}, r"lr must be positive, got nan"),
        ({"lr": float("inf")}, r"lr must be positive, got inf"),
        ({"momentum": 1.0}, r"momentum must be at least 0 and below 1, got 1\.0"),
        ({"weight_decay": -1e-7}, r"weight_decay must be at least 0, got -1e-07"),
        ({"bn_momentum": 0.0}, r"bn_momentum must be above 0 and at most 1, got 0\.0"),
        ({"lr_drop_steps": (20, 10)}, r"lr_drop_steps must be positive and rising, got 20, 10"),
        ({"validate_every": -1}, r"validate_every must be at least 0, got -1"),
        ({"checkpoint_every": 0}, r"checkpoint_every must be at least 1, got 0"),
        ({"keep": 0}, r"keep must be at least 1, got 0"),
        ({"threads": 0}, r"threads must be at least 1, got 0"),
        ({"seed": -1}, r"seed must be at least 0, got -1"),
    ],
)
def test_impossible_value_fails(changes, message):
    with pytest.raises(InvalidInput, match=message):
        replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({"steps": 7}, 7), ({"epochs": 3}, 30), ({}, DEFAULT_EPOCHS * 10)],
)
def test_total_steps_of_ten_a_pass(changes, steps):
    assert replace(DEFAULT, **changes).total_steps(steps_per_epoch=10) == steps


def test_default_rate_is_the_released_one_for_its_batch():
    assert replace(DEFAULT, batch_size=384).learning_rate(1, total_steps=115_000) == pytest.approx(0.1)
    assert replace(DEFAULT, batch_size=96).learning_rate(1, total_steps=115_000) == pytest.approx(0.025)


@pytest.mark.parametrize(("step", "rate"), [(97_000, 0.1), (97_001, 0.01), (108_000, 0.01), (108_001, 0.001)])
def test_default_rate_drops_where_the_released_one_did(step, rate):
    config = replace(DEFAULT, batch_size=384)
    assert config.learning_rate(step, total_steps=115_000) == pytest.approx(rate)


def test_rate_drops_after_the_steps_given():
    config = replace(DEFAULT, lr=1.0, lr_drop_steps=(2, 4))
    rates = [config.learning_rate(step, total_steps=5) for step in (1, 2, 3, 4, 5)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_no_drops_keeps_the_rate():
    assert replace(DEFAULT, lr=1.0, lr_drop_steps=()).learning_rate(100, total_steps=100) == 1.0


@pytest.mark.parametrize(("steps", "momentum"), [(50, 0.1), (1000, 0.01), (115_000, 0.001)])
def test_batch_norm_looks_back_over_a_part_of_the_run(steps, momentum):
    assert DEFAULT.batch_norm_momentum(total_steps=steps) == pytest.approx(momentum)


def test_batch_norm_momentum_given_is_taken():
    assert replace(DEFAULT, bn_momentum=0.5).batch_norm_momentum(total_steps=10) == 0.5


def test_json_form_is_plain():
    config = replace(DEFAULT, lr_drop_steps=(2, 4), weights=Path("w.npz"))
    assert json.loads(json.dumps(config.to_json())) == config.to_json()
    assert config.to_json()["lr_drop_steps"] == [2, 4]
    assert config.to_json()["weights"] == "w.npz"
