"""Tests of i3d_train.pace."""

from i3d_train.pace import Pace


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
