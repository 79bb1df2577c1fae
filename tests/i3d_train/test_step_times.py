"""Tests of i3d_train.step_times."""

from bisect import bisect_left

import pytest
import torch

from i3d_train.models import MODELS
from i3d_train.step_times import step_frames
from preprocess.errors import InvalidInput
from tests.i3d_train.small_weights import small_network

STREAM = {"fused": "both"}


def middle_seen(model: str, frames: int, step: int) -> float:
    """Of the frames of colour that a step's features depend on, found by changing frames."""
    network = small_network(model, stream=STREAM.get(model, "rgb")).double()
    for parameter in network.parameters():
        # only positive weights: whatever grows in a frame grows in all steps that see it
        parameter.data.abs_().add_(1e-3)
    channels = {"rgb": 3, "flow": 2} if network.stream == "both" else {"rgb": 3}
    still = {name: torch.zeros(1, count, frames, 8, 8, dtype=torch.float64) for name, count in channels.items()}

    @torch.inference_mode()
    def features(changed: slice) -> torch.Tensor:
        rgb = still["rgb"].clone()
        rgb[:, :, changed] = 1e6
        x = {name: network.sampling.take(clip, stream=name) for name, clip in (still | {"rgb": rgb}).items()}
        return network.step_features(x if network.stream == "both" else x["rgb"])[0, :, step]

    nothing = features(slice(0))
    # the first frame seen is the first f whose frames 0 to f matter, the last one the last f whose frames from f do
    first = bisect_left(range(frames), True, key=lambda f: not torch.equal(features(slice(f + 1)), nothing))
    after = bisect_left(range(frames), True, key=lambda f: torch.equal(features(slice(f, None)), nothing))
    return (first + after - 1) / 2


@pytest.mark.parametrize(
    ("model", "side"), [("i3d", 32), ("convnet_lstm", 32), ("c3d", 196), ("two_stream", 32), ("fused", 32)]
)
@pytest.mark.parametrize("frames", [64, 70])
def test_there_is_a_time_for_every_step(model, side, frames):
    network = small_network(model, stream=STREAM.get(model, "rgb"))
    x = {name: torch.zeros(1, c, frames, side, side) for name, c in (("rgb", 3), ("flow", 2))}
    x = {name: network.sampling.take(clip, stream=name) for name, clip in x.items()}
    with torch.inference_mode():
        features = network.step_features(x if network.stream == "both" else x["rgb"])
    assert len(step_frames(model, frames)) == features.shape[2]


# lengths of every remainder along I3D's halvings; all frames that this step sees are within the window
@pytest.mark.parametrize("frames", [176, 177, 178, 180])
def test_time_of_an_i3d_step_is_the_middle_of_what_it_sees(frames):
    assert step_frames("i3d", frames)[10] == middle_seen("i3d", frames, 10)


@pytest.mark.parametrize("frames", [120, 130])
def test_time_of_a_fused_step_is_the_middle_of_what_it_sees(frames):
    assert step_frames("fused", frames)[3] == middle_seen("fused", frames, 3)


def test_lstm_and_two_stream_steps_are_at_their_frames():
    assert step_frames("convnet_lstm", 12).tolist() == [0, 5, 10]
    assert step_frames("two_stream", 35).tolist() == [0, 10, 20]


def test_times_are_within_the_window():
    for model in MODELS.keys() & {"i3d", "c3d", "fused"}:
        assert step_frames(model, 10).max() <= 9


def test_unknown_network_fails():
    with pytest.raises(InvalidInput, match=r"when the steps of resnet are is not known"):
        step_frames("resnet", 64)
