"""Tests of i3d_train.presets."""

from pathlib import Path

import pytest

from i3d_train.config import TrainConfig
from i3d_train.presets import PRESETS, config_of, summary
from preprocess.errors import InvalidInput

HERE = {"shards": Path("shards"), "out": Path("run")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 64),
        ("crop", 224),
        ("short_side", 256),
        ("fps", 25),
        ("flip", True),
        ("momentum", 0.9),
        ("weight_decay", 1e-7),
        ("schedule", "plateau"),
        ("dropout", 0.5),
        ("preset", "paper"),
    ],
)
def test_paper_is_the_recipe_of_the_paper(name, value):
    assert getattr(config_of("paper", **HERE), name) == value


def test_modern_is_todays_recipe():
    config = config_of("modern", **HERE)
    assert (config.schedule, config.warmup, config.label_smoothing) == ("cosine", 0.17, 0.1)
    assert (config.ema, config.accumulate) == (0.9999, 8)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_wins(preset):
    assert config_of(preset, weight_decay=0.5, **HERE).weight_decay == 0.5


@pytest.mark.parametrize("preset", PRESETS)
def test_steps_given_take_the_place_of_the_presets_epochs(preset):
    config = config_of(preset, steps=10, **HERE)
    assert (config.steps, config.epochs) == (10, None)


def test_drops_given_take_the_place_of_the_presets_schedule():
    assert config_of("paper", lr_drop_steps=(5, 8), **HERE).schedule == "step"


def test_drops_beside_another_schedule_fails():
    with pytest.raises(InvalidInput, match=r"lr_drop_steps 5 belong to schedule step, not to cosine"):
        config_of("paper", lr_drop_steps=(5,), schedule="cosine", **HERE)


def test_each_network_gets_its_own_window():
    assert config_of("paper", model="c3d", **HERE).frames == 16


def test_without_a_preset_the_defaults_hold():
    assert config_of(None, **HERE) == TrainConfig(**HERE)


def test_unknown_preset_fails():
    with pytest.raises(InvalidInput, match=r"preset 'fast' is unknown; use one of paper, modern"):
        config_of("fast", **HERE)


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["paper"]["momentum"] = 0.5  # type: ignore[index]


def test_summary_names_what_is_not_as_by_default():
    config = config_of("paper", lr=0.01, **HERE)
    assert summary(config) == (
        "preset paper: short_side 256, fps 25, batch_size 6, epochs 176, lr 0.01, schedule plateau, dropout 0.5"
    )


def test_summary_of_the_defaults():
    assert summary(TrainConfig(**HERE)) == "preset none: all as by default"
