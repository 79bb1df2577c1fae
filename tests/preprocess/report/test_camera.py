import numpy as np
import pytest

from preprocess.flow import dequantise, quantise
from preprocess.report.camera import camera_energy, dominant_motion
from preprocess.sample.motion import MOTIONS, Stage, flow_of

BOUND = 19.9


def share(flow_2HW):
    energy, explained = camera_energy(flow_2HW, bound=BOUND)
    return explained / energy


@pytest.mark.parametrize("name", MOTIONS)
def test_an_affine_motion_is_all_camera_even_in_8_bits(name):
    flow_2HW = flow_of(MOTIONS[name](3.0, Stage(width=170, height=128, steps=10)), width=170, height=128)
    assert share(dequantise(quantise(flow_2HW))) > 0.998


def test_points_are_in_the_middle_of_their_squares():
    flow_2HW = np.zeros((2, 192, 192), np.float32)
    flow_2HW[:, 1::3, 1::3] = 2
    assert camera_energy(flow_2HW, bound=BOUND) == pytest.approx((2 * 4 * 4096, 2 * 4 * 4096))


def test_motion_of_many_things_is_no_camera():
    blocks = np.random.default_rng(0).normal(0, 3, (2, 16, 21)).astype(np.float32)
    assert share(blocks.repeat(8, 1).repeat(8, 2)) < 0.05


def test_a_thing_before_a_still_wall_is_no_camera():
    flow_2HW = np.zeros((2, 128, 170), np.float32)
    flow_2HW[0, 40:90, 60:110] = 5
    assert share(flow_2HW) == 0


def test_a_thing_does_not_bend_the_motion_of_the_camera():
    flow_2HW = flow_of(MOTIONS["zooming in"](3.0, Stage(width=170, height=128, steps=10)), width=170, height=128)
    thing_2HW = np.zeros_like(flow_2HW)
    thing_2HW[:, 20:80, 20:80] = np.array([-9, 6], np.float32)[:, None, None]
    energy, explained = camera_energy(flow_2HW + thing_2HW, bound=BOUND)
    # what is left is the thing, which the motion of least squares would have taken a part of
    left = np.square(thing_2HW[:, 1::2, 1::2]).sum()
    assert energy - explained == pytest.approx(left, rel=0.01)


def test_dominant_motion_is_that_of_most_points():
    place_NM = np.column_stack([np.ones(100), *np.random.default_rng(1).uniform(-0.5, 0.5, (2, 100))])
    truth_M2 = np.array([[1.0, 2.0], [0.5, 0.0], [0.0, -0.5]])
    flow_N2 = place_NM @ truth_M2
    flow_N2[:40] += 1
    assert np.allclose(dominant_motion(place_NM, flow_N2), truth_M2, atol=0.01)


def test_what_was_clipped_counts_for_nothing():
    flow_2HW = np.zeros((2, 64, 64), np.float32)
    flow_2HW[0] = 2
    flow_2HW[0, :20] = 20
    energy, explained = camera_energy(flow_2HW, bound=BOUND)
    assert energy == explained == pytest.approx(4 * 44 * 64)


def test_a_motion_that_explains_less_than_none_explains_nothing():
    flow_2HW = np.ones((2, 64, 64), np.float32)
    flow_2HW[:, :24] = -3
    assert camera_energy(flow_2HW, bound=BOUND)[1] == 0


@pytest.mark.filterwarnings("error")
def test_where_all_was_clipped_nothing_is_known():
    assert camera_energy(np.full((2, 64, 64), 20, np.float32), bound=BOUND) == (0, 0)


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 1, 64), (2, 1, 1)])
def test_nothing_moves(shape):
    assert camera_energy(np.zeros(shape, np.float32), bound=BOUND) == (0, 0)


def test_one_line_of_pixels_has_a_motion_too():
    assert share(np.ones((2, 1, 64), np.float32)) == pytest.approx(1)
