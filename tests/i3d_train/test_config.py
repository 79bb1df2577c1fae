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
        ({"stream": "depth"}, r"i3d takes stream rgb or flow or both, got 'depth'"),
        ({"stream": "rgb", "model": "fused"}, r"fused takes stream both, got 'rgb'"),
        ({"device": "tpu"}, r"device 'tpu' is unknown; use one of auto, cpu, cuda"),
        ({"precision": "fp8"}, r"precision 'fp8' is unknown; use one of auto, bf16, fp16, fp32"),
        ({"schedule": "linear"}, r"schedule 'linear' is unknown; use one of step, plateau, cosine"),
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
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, got 1\.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be at least 0 and below 1, got -0\.1"),
        ({"warmup": 1.0}, r"warmup must be at least 0 and below 1, got 1\.0"),
        ({"ema": 1.0}, r"ema must be above 0 and below 1, got 1\.0"),
        ({"clip_norm": 0.0}, r"clip_norm must be positive, got 0\.0"),
        ({"width": 0.0}, r"width must be above 0 and at most 1, got 0\.0"),
        ({"accumulate": 3}, r"batch_size 8 cannot be cut into accumulate 3 equal parts"),
        ({"patience": 0}, r"patience must be at least 1, got 0"),
        ({"workers": -1}, r"workers must be at least 0, got -1"),
        ({"address": "host:6379"}, r"a Ray address \(host:6379\) needs workers; add --workers N"),
        ({"lr_drop_steps": (5,), "schedule": "cosine"}, r"lr_drop_steps 5 belong to schedule step, not to cosine"),
        ({"patience": 2}, r"patience 2 belongs to schedule plateau, not to step; leave one of them out"),
        ({"schedule": "plateau", "validate_every": 0}, r"schedule plateau follows the validations"),
        ({"transfer": "partly"}, r"transfer 'partly' is unknown; use one of original, fixed, full"),
        ({"transfer": "fixed"}, r"transfer fixed needs the weights to carry over; give them with --init"),
        (
            {"transfer": "original", "weights": Path("w.npz")},
            r"transfer original starts without weights, got w\.npz; leave --init out",
        ),
        ({"inflate": Path("2d.pth"), "weights": Path("w.npz")}, r"weights w\.npz would replace those of inflate 2d"),
        ({"freeze_bn": True, "precise_bn": 5}, r"freeze_bn leaves no averages to take: leave it or precise_bn 5 out"),
        ({"freeze_bn": True, "sync_bn": True}, r"leave it or sync_bn out"),
        (
            {"transfer": "fixed", "weights": Path("w.npz"), "precise_bn": 5},
            r"transfer fixed leaves no averages to take: leave it or precise_bn 5 out",
        ),
        ({"weight_decay": -1e-7}, r"weight_decay must be at least 0, got -1e-07"),
        ({"bn_momentum": 0.0}, r"bn_momentum must be above 0 and at most 1, got 0\.0"),
        ({"lr_drop_steps": (20, 10)}, r"lr_drop_steps must be positive and rising, got 20, 10"),
        ({"validate_every": -1}, r"validate_every must be at least 0, got -1"),
        ({"checkpoint_every": 0}, r"checkpoint_every must be at least 1, got 0"),
        ({"keep": 0}, r"keep must be at least 1, got 0"),
        ({"threads": 0}, r"threads must be at least 1, got 0"),
        ({"seed": -1}, r"seed must be at least 0, got -1"),
        ({"seed": 1 << 63}, r"seed must be below 2 \*\* 63, got 9223372036854775808"),
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


def test_json_form_is_plain():
    config = replace(DEFAULT, lr_drop_steps=(2, 4), weights=Path("w.npz"))
    assert json.loads(json.dumps(config.to_json())) == config.to_json()
    assert config.to_json()["lr_drop_steps"] == [2, 4]
    assert config.to_json()["weights"] == "w.npz"
