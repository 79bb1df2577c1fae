import colorsys

import numpy as np
import pytest

from preprocess.errors import InvalidInput
from preprocess.flow_color import color_wheel, flow_to_color


def color_of(u: float, v: float) -> tuple[int, ...]:
    """Of one pixel's motion, 1 being the full speed."""
    return tuple(flow_to_color(np.array([u, v], np.float32).reshape(2, 1, 1), max_magnitude=1)[0, 0].tolist())


def hue(color: tuple[int, ...]) -> float:
    return colorsys.rgb_to_hsv(*(value / 255 for value in color))[0]


def test_wheel_is_the_published_one():
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    # where each of the six arcs of 15, 6, 4, 11, 13 and 6 steps begins
    assert wheel[[0, 15, 21, 25, 36, 49]].tolist() == [
        [255, 0, 0],
        [255, 255, 0],
        [0, 255, 0],
        [0, 255, 255],
        [0, 0, 255],
        [255, 0, 255],
    ]
    assert wheel[1].tolist() == [255, 17, 0]


@pytest.mark.parametrize(("u", "v"), [(0.0, 0.0), (-0.0, -0.0)])
def test_no_motion_is_white(u, v):
    assert color_of(u, v) == (255, 255, 255)


@pytest.mark.parametrize("v", [0.0, -0.0])
def test_motion_to_the_right_is_red(v):
    assert color_of(1.0, v) == (255, 0, 0)


def test_direction_goes_around_the_wheel_in_order():
    right, down, left, up = (hue(color_of(*motion)) for motion in ((1, 0), (0, 1), (-1, 0), (0, -1)))
    assert right < down < left < up


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 7))
def test_opposite_directions_have_far_hues(angle):
    there, back = color_of(np.cos(angle), np.sin(angle)), color_of(-np.cos(angle), -np.sin(angle))
    apart = abs(hue(there) - hue(back))
    assert min(apart, 1 - apart) > 0.25


def test_slow_is_paler_and_too_fast_is_darker():
    slow, full, fast = (color_of(speed, 0.0) for speed in (0.25, 1.0, 1.5))
    assert slow == (255, 191, 191)
    assert full == (255, 0, 0)
    assert fast == (191, 0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_unknown_flow_is_black_and_does_not_set_the_scale(value):
    flow = np.array([[[1.0, value]], [[0.0, 0.0]]], np.float32)
    assert flow_to_color(flow).tolist() == [[[255, 0, 0], [0, 0, 0]]]


def test_leading_dimensions_are_kept():
    flow = np.random.default_rng(0).normal(size=(3, 5, 2, 7, 9)).astype(np.float32)
    colors = flow_to_color(flow, max_magnitude=2.0)
    assert colors.shape == (3, 5, 7, 9, 3)
    assert (colors[1, 2] == flow_to_color(flow[1, 2], max_magnitude=2.0)).all()


def test_not_flow_fails():
    with pytest.raises(InvalidInput, match=r"must be floating point \[\.\.\., 2, H, W\], got uint8 \(2, 4, 4\)"):
        flow_to_color(np.zeros((2, 4, 4), np.uint8))


def test_maximum_of_zero_fails():
    with pytest.raises(InvalidInput, match="max_magnitude is 0; it must be above 0"):
        flow_to_color(np.zeros((2, 4, 4), np.float32), max_magnitude=0)
