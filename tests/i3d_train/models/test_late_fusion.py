"""Tests of i3d_train.models.late_fusion."""

import pytest
import torch

from i3d_train.models.late_fusion import LateFusion
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import clips, small


def test_logits_are_the_sum_of_the_two_networks():
    network, x = small("i3d", "both"), clips("i3d", "both")
    assert isinstance(network, LateFusion)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), network.rgb(x["rgb"]) + network.flow(x["flow"]))


def test_published_joint_logits_are_sums(shared_data):
    published = {}
    for part in ("rgb", "flow", "joint"):
        text = (shared_data / "i3d" / f"deepmind_out_imagenet_{part}.txt").read_text()
        rows = (line.split(maxsplit=2) for line in text.split("probabilities\n")[1].splitlines())
        published[part] = {label: float(logit) for _, logit, label in rows}
    rgb, flow, joint = published.values()
    in_all = rgb.keys() & flow.keys() & joint.keys()
    assert len(in_all) >= 5
    assert {label: rgb[label] + flow[label] for label in in_all} == pytest.approx(
        {label: joint[label] for label in in_all}
    )


def test_fused_lstms_answer_with_their_last_frames():
    network, x = small("convnet_lstm", "both"), clips("convnet_lstm", "both")
    with torch.inference_mode():
        torch.testing.assert_close(network(x), network.rgb(x["rgb"]) + network.flow(x["flow"]))


def test_features_are_those_of_both_networks():
    network, x = small("i3d", "both"), clips("i3d", "both")
    with torch.inference_mode():
        rgb, flow = network.step_features(x).chunk(2, dim=1)
        torch.testing.assert_close(rgb, network.rgb.step_features(x["rgb"]))
        torch.testing.assert_close(flow, network.flow.step_features(x["flow"]))


def test_what_a_run_must_know_is_that_of_the_single_networks():
    network = small("c3d", "both")
    assert network.sampling == network.rgb.sampling
    assert (network.min_frames, network.min_side) == (network.rgb.min_frames, network.rgb.min_side)


@pytest.mark.parametrize("part", [(slice(1), slice(None)), (slice(None), slice(None), slice(-1))])
def test_streams_of_other_clips_or_lengths_fails(part):
    x = clips("c3d", "both")
    with pytest.raises(InvalidInput, match=r"rgb has 2 clips of 4 frames, flow [12] of [34]; give both streams"):
        small("c3d", "both")({"rgb": x["rgb"], "flow": x["flow"][part]})
