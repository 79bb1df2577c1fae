import numpy as np
import pytest

from preprocess.flow import quantise
from preprocess.report.content import Verdict
from preprocess.report.measuring import ClipMeasures
from preprocess.report.motion import Sizes, motion_of, percent
from preprocess.report.stretches import Stretches
from preprocess.shards import ShardAttributes

ATTRIBUTES = ShardAttributes()


def counts(speeds_px):
    return np.bincount(quantise(np.asarray(speeds_px, float)), minlength=256)


def measures(u_px, v_px=(0.0,)):
    return ClipMeasures(
        clip=0,
        fields=1,
        codes=np.stack([counts(u_px), counts(v_px)]),
        speeds=np.array([1, 2, 3]),
        stretches=Stretches(fields=1, still=0, longest=0, duplicate=0),
        moving_fields=1,
        energy=1.0,
        explained=0.5,
        descriptor=np.zeros(0),
        look=np.zeros(0),
    )


def test_at_the_bound_are_both_ends_and_the_code_that_jpeg_makes():
    codes = np.zeros(256, np.int64)
    codes[[0, 1, 2, 128, 254, 255]] = [1, 2, 4, 80, 5, 8]
    sizes = Sizes(codes, ATTRIBUTES)
    assert sizes.at_bound == pytest.approx(11 / 100)
    assert sizes.percentile_px(100) == 20


def test_percentiles_are_of_the_size_whatever_the_direction():
    sizes = Sizes(counts([*[0.0] * 50, *[-5.0] * 40, *[10.0] * 9, 20.0]), ATTRIBUTES)
    found = [sizes.percentile_px(percent) for percent in (50, 90, 99, 99.9)]
    assert found == pytest.approx([0, 5, 10, 20], abs=0.08)


def test_percentiles_are_named_and_have_three_digits():
    motion = motion_of([measures([*[0.0] * 500, *[1.0] * 400, *[-5.0] * 95, *[10.0] * 5], [0.0])], ATTRIBUTES)
    # 6, 32 and 64 codes of 20 / 127 px
    assert motion.u.percentiles_px == {"50": 0, "90": 0.945, "99": 5.039, "99.9": 10.079}
    assert motion.v.percentiles_px == {"50": 0, "90": 0, "99": 0, "99.9": 0}
    assert [bound.clipped for bound in motion.bounds if bound.bound_px >= 15] == [0, 0, 0, 0]


def test_other_bounds_clip_what_is_faster():
    motion = motion_of([measures([0.0] * 96 + [6.0, -11.0, 16.0], [25.0])], ATTRIBUTES)
    exact = {bound.bound_px: bound.clipped for bound in motion.bounds if bound.is_exact}
    assert exact == pytest.approx({5.0: 0.04, 10.0: 0.03, 15.0: 0.02, 20.0: 0.01})
    assert [bound.step_px for bound in motion.bounds if bound.bound_px == 20] == [20 / 127]


def test_above_the_bound_the_tail_goes_on_as_it_fell():
    # from 15 to 20 px the share falls to a half, so it does from 20 to 25 and from 25 to 30
    motion = motion_of([measures([0.0] * 92 + [16.0] * 4 + [30.0] * 4)], ATTRIBUTES)
    guessed = {bound.bound_px: bound.clipped for bound in motion.bounds if not bound.is_exact}
    assert guessed == pytest.approx({30.0: 4 / 101 / 4, 40.0: 4 / 101 / 16})


@pytest.mark.parametrize(
    ("fast", "at_bound", "verdict"),
    [
        (0, 0, Verdict.WIDE),
        (50, 0, Verdict.RIGHT),
        (50, 19, Verdict.RIGHT),
        (50, 30, Verdict.TIGHT),
        (50, 300, Verdict.TOO_LOW),
    ],
)
def test_verdict(fast, at_bound, verdict):
    speeds = [0.0] * (10_000 - fast - at_bound) + [12.0] * fast + [-20.0] * at_bound
    motion = motion_of([measures(speeds, [0.0] * 10_000)], ATTRIBUTES)
    assert motion.verdict is verdict
    assert f"clips {percent(at_bound / 20_000)} of all" in motion.verdict_text
    assert motion.u.at_bound == pytest.approx(at_bound / 10_000)
    assert motion.v.at_bound == 0


def test_clips_are_added_up():
    motion = motion_of([measures([0.0]), measures([20.0])], ATTRIBUTES)
    assert (motion.clips, motion.fields, motion.speeds.counts) == (2, 2, (2, 4, 6))
    assert motion.at_bound == 0.25


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1e-7, "< 0.001 %"),
        (1e-5, "0.001 %"),
        (0.00042, "0.042 %"),
        (0.0994, "9.9 %"),
        (0.1234, "12.3 %"),
        (1, "100 %"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text
