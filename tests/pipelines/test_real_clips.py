"""Both loaders on real clips, made into shards here as `preprocess flow` does it."""

import numpy as np
import pytest

from pipelines import ClipLoader, TorchClipLoader
from preprocess.extract import encode_flow, encode_frame
from preprocess.flow import quantise, tvl1
from preprocess.media import read_clip, to_gray
from preprocess.shards import EncodedClip
from tests.pipelines.small_loader import assert_same_epochs
from tests.pipelines.tiny_shards import write_set

CLIPS = ("kinetics/ask_yoga.mp4", "kinetics/WUzgd7C1pWA.mp4", "codec/decord_video_90.mov", "codec/tc_h264_10bits.mp4")
"""Landscape, landscape, upright after rotation with three frames, square."""


def real_clip(path, number: int) -> EncodedClip:
    frames = read_clip(path, short_side=112, max_frames=14)
    flow = quantise(tvl1(to_gray(frames)))
    return EncodedClip(
        key=path.stem,
        label=number % 3,
        rgb=[encode_frame(frame, quality=95) for frame in frames],
        flow=[encode_flow(codes, quality=95) for codes in flow],
        height=frames.shape[1],
        width=frames.shape[2],
        time_start=0.0,
        time_end=len(frames) / 25,
    )


@pytest.fixture(scope="module")
def real_shards(shared_data, tmp_path_factory):
    clips = [real_clip(shared_data / name, number) for number, name in enumerate(CLIPS)]
    return write_set(tmp_path_factory.mktemp("real"), {"train": [clips[:2], clips[2:]]})


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"training": True, "batch_size": 2}, id="training"),
        pytest.param({"training": True, "batch_size": 4, "balanced": True, "seed": 7}, id="balanced"),
        pytest.param({"training": False, "batch_size": 3, "windows": 2, "crops": 3}, id="views"),
        pytest.param({"training": False, "batch_size": 1, "frames": None}, id="whole-clip"),
    ],
)
def test_both_loaders_give_the_same_bits(real_shards, options):
    options = {"split": "train", "frames": 8, "crop": 97, "threads": 2, "device": "cpu", **options}
    dali, oracle = ClipLoader(real_shards, **options), TorchClipLoader(real_shards, **options)
    assert_same_epochs(dali, oracle, epochs=2)


def test_frames_are_those_of_the_video(real_shards, shared_data):
    (batch, *_) = TorchClipLoader(
        real_shards, split="train", training=False, frames=None, batch_size=1, crop=112, streams=("rgb",), device="cpu"
    )
    frames = read_clip(shared_data / CLIPS[0], short_side=112, max_frames=14)
    left = (frames.shape[2] - 112) // 2
    shown = (batch["rgb"][0].permute(1, 2, 3, 0).numpy() + 1) * 127.5
    # JPEG of quality 95 with 4:2:0
    assert np.abs(shown - frames[:, :, left : left + 112]).mean() < 4
