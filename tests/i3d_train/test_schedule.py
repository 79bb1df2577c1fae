"""Tests of i3d_train.schedule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i3d_train.config import TrainConfig
from i3d_train.schedule import Schedule

DEFAULT = TrainConfig(shards=Path("shards"), out=Path("run"))


def schedule(total_steps: int, *, clips_per_step: int = 384, **changes) -> Schedule:
    return Schedule(replace(DEFAULT, **changes), total_steps=total_steps, clips_per_step=clips_per_step)


@pytest.mark.parametrize(("clips", "rate"), [(384, 0.1), (96, 0.025)])
def test_default_rate_is_the_released_one_for_its_clips(clips, rate):
    assert schedule(115_000, clips_per_step=clips).rate(1) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(97_000, 0.1), (97_001, 0.01), (108_000, 0.01), (108_001, 0.001)])
def test_default_rate_drops_where_the_released_one_did(step, rate):
    assert schedule(115_000).rate(step) == pytest.approx(rate)


def test_a_run_twice_as_long_drops_at_twice_the_steps():
    assert schedule(230_000).drop_steps == (194_000, 216_000)


def test_a_single_step_has_the_rate_that_was_asked_for():
    assert schedule(1, lr=1.0).rate(1) == 1.0


def test_rate_drops_after_the_steps_given():
    found = schedule(5, lr=1.0, lr_drop_steps=(2, 4))
    assert [found.rate(step) for step in (1, 2, 3, 4, 5)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_rate_drops_within_the_warmup_too():
    found = schedule(5, lr=1.0, lr_drop_steps=(2,), warmup=0.8)
    assert [found.rate(step) for step in (1, 2, 3, 4, 5)] == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1])


def test_no_drops_keeps_the_rate():
    assert schedule(100, lr=1.0, lr_drop_steps=()).rate(100) == 1.0


def test_cosine_falls_from_the_whole_rate_to_nearly_none():
    found = schedule(100, lr=1.0, schedule="cosine")
    rates = [found.rate(step) for step in range(1, 101)]
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert rates == sorted(rates, reverse=True)


def test_cosine_is_half_a_wave_over_the_steps_after_the_warmup():
    found = schedule(100, lr=2.0, schedule="cosine", warmup=0.2)
    expected = 1 + np.cos(np.pi * np.arange(80) / 80)
    assert [found.rate(step) for step in range(21, 101)] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("shape", ["step", "plateau", "cosine"])
def test_warmup_rises_in_a_line_to_the_whole_rate(shape):
    found = schedule(100, lr=1.0, schedule=shape, warmup=0.04)
    assert [found.rate(step) for step in (1, 2, 3, 4, 5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_plateau_drops_after_so_many_validations_without_a_lower_loss():
    found = schedule(100, lr=1.0, schedule="plateau", patience=2)
    dropped = [found.validated(loss) for loss in (1.0, 0.9, 0.95, 0.91, 0.8, 0.85, 0.85)]
    assert dropped == [False, False, False, True, False, False, True]
    assert found.rate(7) == pytest.approx(0.01)


def test_plateau_drops_within_the_warmup_too():
    found = schedule(100, lr=1.0, schedule="plateau", patience=1, warmup=0.04)
    dropped = [found.validated(loss) for loss in (1.0, 1.0)]
    assert dropped == [False, True]
    assert [found.rate(step) for step in (2, 4, 5)] == pytest.approx([0.05, 0.1, 0.1])


def test_plateau_takes_a_change_of_a_thousandth_for_noise():
    found = schedule(100, schedule="plateau", patience=1)
    assert [found.validated(loss) for loss in (1.0, 0.9992, 0.9988)] == [False, True, False]


@pytest.mark.parametrize("shape", ["step", "cosine"])
def test_other_schedules_do_not_follow_the_validation(shape):
    found = schedule(100, lr=1.0, schedule=shape)
    assert not any(found.validated(loss) for loss in (1.0, 2.0, 3.0, 4.0))


def test_state_goes_on_where_it_was():
    first = schedule(100, lr=1.0, schedule="plateau", patience=2)
    for loss in (1.0, 2.0, 2.0, 2.0):
        first.validated(loss)
    second = schedule(100, lr=1.0, schedule="plateau", patience=2)
    second.load_state_dict(first.state_dict())
    assert second.rate(5) == pytest.approx(0.1)
    assert second.validated(2.0)
