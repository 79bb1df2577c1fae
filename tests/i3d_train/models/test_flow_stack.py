"""Tests of i3d_train.models.flow_stack."""

import pytest
import torch

from i3d_train.models.flow_stack import paired, stacked
from preprocess.errors import InvalidInput


def test_channels_are_u_and_v_of_one_field_after_the_other():
    u, v = torch.arange(20.0), 100 + torch.arange(20.0)
    flow = torch.stack([u, v])[None, :, :, None, None]
    images = stacked(flow)
    assert images.shape == (1, 20, 2, 1, 1)
    assert images[0, :4, 0].flatten().tolist() == [0, 100, 1, 101]
    assert images[0, -2:, 1].flatten().tolist() == [19, 119]


@pytest.mark.parametrize("fields", [0, 9, 15])
def test_unwhole_stack_fails(fields):
    with pytest.raises(InvalidInput, match=rf"in stacks of 10 consecutive fields, got T = {fields}"):
        stacked(torch.zeros(1, 2, fields, 4, 4))


@pytest.mark.parametrize("rgb", [(1, 3, 2, 4, 4), (2, 3, 1, 4, 4), (1, 3, 1, 8, 4)])
def test_frames_that_do_not_fit_the_flow_fails(rgb):
    with pytest.raises(InvalidInput, match=r"does not fit flow \(1, 2, 10, 4, 4\); give one frame for every 10"):
        paired(torch.zeros(rgb), torch.zeros(1, 2, 10, 4, 4))
