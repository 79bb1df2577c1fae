"""Tests of i3d_train.models.sampling."""

import pytest
import torch

from i3d_train.models.sampling import Sampling
from preprocess.errors import InvalidInput


def numbered(frames: int, *, side: int = 1) -> torch.Tensor:
    return torch.arange(float(frames))[None, None, :, None, None].expand(1, 1, frames, side, side)


def test_stride_takes_every_so_manieth_from_the_first():
    taken = Sampling(rgb_stride=5).take(numbered(12), stream="rgb")
    assert taken.flatten().tolist() == [0, 5, 10]


def test_streams_have_strides_of_their_own():
    sampling = Sampling(window=10, rgb_stride=10, flow_stack=10)
    assert sampling.take(numbered(20), stream="rgb").flatten().tolist() == [0, 10]
    assert sampling.take(numbered(20), stream="flow").shape[2] == 20


def test_frames_after_the_last_whole_stack_are_left_out_of_both_streams():
    sampling = Sampling(window=10, rgb_stride=10, flow_stack=10)
    assert [sampling.take(numbered(29), stream=stream).shape[2] for stream in ("rgb", "flow")] == [2, 20]


def test_shrinking_is_the_mean_of_squares():
    x = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    taken = Sampling(shrink=2).take(x, stream="rgb")
    assert taken.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_window_shorter_than_a_stack_fails():
    with pytest.raises(InvalidInput, match=r"needs at least 10 consecutive frames, got 9"):
        Sampling(window=10, flow_stack=10).take(numbered(9), stream="flow")


def test_impossible_value_fails():
    with pytest.raises(InvalidInput, match=r"rgb_stride must be at least 1, got 0"):
        Sampling(rgb_stride=0)


@pytest.mark.parametrize("changes", [{"window": 64}, {"window": 50, "test_window": 64}])
def test_window_that_is_no_multiple_of_the_stack_fails(changes):
    with pytest.raises(InvalidInput, match=r"window 64 is no multiple of flow_stack 10"):
        Sampling(flow_stack=10, **changes)
