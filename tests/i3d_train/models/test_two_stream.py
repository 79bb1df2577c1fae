"""Tests of i3d_train.models.two_stream."""

import pytest
import torch

from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import clips, on_meta, small


def test_answer_of_several_frames_is_the_mean_of_each():
    network, x = small("two_stream", "both"), clips("two_stream", "both")
    with torch.inference_mode():
        parts = [{"rgb": x["rgb"][:, :, i : i + 1], "flow": x["flow"][:, :, 10 * i : 10 * i + 10]} for i in (0, 1)]
        torch.testing.assert_close(network(x), torch.stack([network(part) for part in parts]).mean(dim=0))


def test_answer_of_both_streams_is_the_mean_of_each():
    both, x = small("two_stream", "both"), clips("two_stream", "both")
    single = {one: small("two_stream", one) for one in ("rgb", "flow")}
    for network in single.values():
        network.load_state_dict({key: both.state_dict()[key] for key in network.state_dict()})
    with torch.inference_mode():
        mean = (single["rgb"](x["rgb"]) + single["flow"](x["flow"])) / 2
        torch.testing.assert_close(both(x), mean)


def test_flow_images_have_twenty_channels():
    assert on_meta("two_stream", "flow").get_submodule("flow.Conv3d_1a_7x7.conv").in_channels == 20


def test_single_field_fails():
    with pytest.raises(InvalidInput, match=r"TwoStream for flow needs T >= 10 frames, got T = 1; use longer clips"):
        small("two_stream", "flow")(torch.zeros(1, 2, 1, 32, 32))
