"""Tests of i3d_train.predict."""

import json
import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from i3d_train import checkpoint, weights
from i3d_train.models import build, network_class
from i3d_train.predict import PredictConfig, clip_input, predict
from i3d_train.trainer import Trainer
from preprocess.cores import cores
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.labels import label_table
from preprocess.media_process import read_clip
from tests.i3d_train.small_shards import SIDE, noisy_clips, write_set
from tests.i3d_train.small_videos import write_video
from tests.i3d_train.small_weights import small_network, write_small

REFERENCE_CLIPS = ["kinetics/ask_yoga.mp4", "action/iio_realshort.mp4"]


@pytest.fixture
def own_weights(config, tmp_path):
    return checkpoint.save(tmp_path, Trainer(config).checkpoint(), keep=1)


@pytest.fixture
def settings(own_weights) -> PredictConfig:
    return PredictConfig(weights=own_weights, device="cpu")


def test_prediction_is_the_networks_answer(settings, tmp_path):
    # as few as it takes
    video = write_video(tmp_path / "a.mp4", frames=9)
    (prediction,) = predict([video], settings)
    assert prediction.frames == 9
    network = build("tiny", num_classes=2, stream="rgb").eval()
    weights.load(network, settings.weights)
    with torch.inference_mode():
        logits = network(clip_input(video, stream="rgb", frames=250, crop=SIDE, short_side=SIDE)["rgb"])[0]
    best = int(logits.argmax())
    assert prediction.guesses[0].label == ("dark", "light")[best]
    assert prediction.guesses[0].logit == pytest.approx(float(logits[best]), rel=1e-5)
    assert prediction.guesses[0].probability == pytest.approx(float(logits.softmax(0)[best]), rel=1e-5)
    assert prediction.logits_norm == pytest.approx(float(logits.norm()), rel=1e-5)


def test_rgb_input_is_centred_scaled_and_cut_to_length(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=12)
    x = clip_input(video, stream="rgb", frames=10, crop=224)["rgb"]
    assert (x.shape, x.dtype) == ((1, 3, 10, 224, 224), torch.float32)
    # 96x64 pixels become 384x256
    frames_THWC = torch.from_numpy(read_clip(video, fps=Fraction(25), short_side=256, max_frames=10))
    wanted = frames_THWC[:, 16:240, 80:304].permute(3, 0, 1, 2) / 127.5 - 1
    torch.testing.assert_close(x[0], wanted, atol=1e-6, rtol=0)


def test_videos_are_decoded_in_another_process(tmp_path, monkeypatch):
    def here(*arguments, **options):
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("preprocess.media.clip_frames", here)
    clip_input(write_video(tmp_path / "a.mp4", frames=9), stream="rgb", frames=9, crop=224)


def test_black_is_minus_one(tmp_path):
    x = clip_input(write_video(tmp_path / "a.mp4", frames=9, gray=-100), stream="rgb", frames=9, crop=224)["rgb"]
    assert float(x.min()) == -1


def test_flow_input_is_a_quantised_field_between_frames(tmp_path, monkeypatch):
    def codes(gray_THW, *, threads):
        assert threads == cores()
        return np.full((len(gray_THW) - 1, 2, *gray_THW.shape[1:]), 255, np.uint8)

    monkeypatch.setattr("i3d_train.predict.tvl1_codes", codes)
    x = clip_input(write_video(tmp_path / "a.mp4", frames=12), stream="flow", frames=10, crop=224)["flow"]
    assert x.shape == (1, 2, 10, 224, 224)
    assert x.unique().tolist() == [1.0]


def test_both_streams_have_the_same_times(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "i3d_train.predict.tvl1_codes",
        lambda gray_THW, **_: np.full((len(gray_THW) - 1, 2, *gray_THW.shape[1:]), 128, np.uint8),
    )
    video = write_video(tmp_path / "a.mp4", frames=12)
    both = clip_input(video, stream="both", frames=250, crop=224)
    assert [both[stream].shape[1:3] for stream in ("rgb", "flow")] == [(3, 11), (2, 11)]
    assert torch.equal(both["rgb"], clip_input(video, stream="rgb", frames=11, crop=224)["rgb"])


def test_network_sees_what_its_sampling_says(tmp_path):
    network = small_network("convnet_lstm", stream="rgb")
    path = write_small(tmp_path / "w.safetensors", network, model="convnet_lstm")
    video = write_video(tmp_path / "a.mp4", frames=12)
    (prediction,) = predict([video], PredictConfig(weights=path, device="cpu", crop=64))
    x = clip_input(video, stream="rgb", frames=250, crop=64)["rgb"]
    with torch.inference_mode():
        wanted = network(x[:, :, ::5])
    assert prediction.logits_norm == pytest.approx(float(wanted.norm()), rel=1e-4)


def test_reduced_precision_leaves_the_logits_their_digits(tmp_path):
    path = write_small(tmp_path / "w.safetensors", small_network("i3d", stream="rgb"), model="i3d")
    config = PredictConfig(weights=path, device="cpu", crop=64, precision="bf16")
    (prediction,) = predict([write_video(tmp_path / "a.mp4", frames=12)], config)
    logits = torch.tensor([guess.logit for guess in prediction.guesses])
    assert not torch.equal(logits, logits.bfloat16().float())
    (exact,) = predict([tmp_path / "a.mp4"], replace(config, precision="fp32"))
    assert prediction.logits_norm != exact.logits_norm


def test_equal_logits_are_named_in_the_order_of_the_classes(tmp_path):
    network = small_network("i3d", stream="rgb", num_classes=20)
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    path = write_small(tmp_path / "w.safetensors", network, model="i3d")
    video = write_video(tmp_path / "a.mp4", frames=12)
    (prediction,) = predict([video], PredictConfig(weights=path, device="cpu", crop=64))
    assert [guess.label for guess in prediction.guesses] == [f"class {number}" for number in range(5)]


def test_only_the_likeliest_are_named(settings, tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=12)
    (prediction,) = predict([video], replace(settings, top=1))
    assert len(prediction.guesses) == 1


def test_labels_of_the_caller_are_taken(settings, tmp_path):
    (tmp_path / "labels.txt").write_text("night\nday\n")
    video = write_video(tmp_path / "a.mp4", frames=12)
    (prediction,) = predict([video], replace(settings, labels=tmp_path / "labels.txt"))
    assert {guess.label for guess in prediction.guesses} == {"night", "day"}


def test_bad_video_costs_only_itself_fails(settings, tmp_path, caplog):
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    videos = [tmp_path / "bad.mp4", tmp_path / "gone.mp4", write_video(tmp_path / "good.mp4", frames=12)]
    with caplog.at_level(logging.INFO, logger="i3d_train.predict"):
        bad, gone, good = predict(videos, settings)
    assert caplog.messages == [bad.error, gone.error]
    assert bad.error.startswith("bad.mp4: ")
    assert gone.error.startswith(f"{tmp_path / 'gone.mp4'} is not there")
    assert bad.guesses == gone.guesses == ()
    assert good.error is None


def test_logits_that_are_not_finite_fail_their_video(settings, tmp_path, tiny, monkeypatch):
    video = write_video(tmp_path / "a.mp4", frames=12)
    monkeypatch.setattr(network_class(tiny), "clip_logits", lambda network, logits: logits.mean(2) * torch.nan)
    (prediction,) = predict([video], settings)
    assert prediction.error == "a.mp4: the network's logits are not finite; use --precision fp32, or other weights"
    assert (prediction.guesses, prediction.logits_norm) == ((), 0.0)


def test_memory_that_is_too_small_fails(settings, tmp_path, tiny, monkeypatch):
    video = write_video(tmp_path / "a.mp4", frames=12)

    def full(network, logits):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network_class(tiny), "clip_logits", full)
    message = r"too small for one clip at a time; use fewer --frames$"
    with pytest.raises(EnvironmentProblem, match=message):
        list(predict([video], settings))


def test_short_video_fails(settings, tmp_path):
    (prediction,) = predict([write_video(tmp_path / "short.mp4", frames=8)], settings)
    assert prediction.error.startswith("short.mp4: 8 frames at 25 a second, the network needs at least 9")


def test_video_is_taken_at_the_rate_of_training(config, tmp_path):
    slow = write_set(tmp_path / "slow", {"train": noisy_clips("train", [0, 1] * 4)}, fps=Fraction(25, 2))
    own = checkpoint.save(tmp_path, Trainer(replace(config, shards=slow)).checkpoint(), keep=1)
    videos = [write_video(tmp_path / f"{frames}.mp4", frames=frames) for frames in (24, 16)]
    long, short = predict(videos, PredictConfig(weights=own, device="cpu"))
    assert long.frames == 12
    assert short.error.startswith("16.mp4: 8 frames at 25/2 a second, the network needs at least 9")


def test_short_video_is_told_its_flow_fields_fails(tmp_path):
    weights = write_small(tmp_path / "w.safetensors", small_network("i3d", stream="flow"), model="i3d")
    video = write_video(tmp_path / "short.mp4", frames=9)
    (prediction,) = predict([video], PredictConfig(weights=weights, device="cpu"))
    assert prediction.error.startswith("short.mp4: 8 flow fields at 25 a second, the network needs at least 9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 8}, r"tiny needs at least 9 frames, got frames 8"),
        ({"crop": 38}, r"tiny needs a crop of at least 39 pixels, got crop 38"),
        ({"crop": 41}, r"crop must be at most 40 pixels, got 41"),
    ],
)
def test_what_the_network_cannot_see_fails(changes, message, settings, tiny, monkeypatch):
    monkeypatch.setattr(network_class(tiny), "min_side", 39)
    predict([], replace(settings, frames=9, crop=39))
    with pytest.raises(InvalidInput, match=message):
        predict([], replace(settings, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 0}, r"crop must be at least 1, got 0"),
        ({"frames": 0}, r"frames must be at least 1, got 0"),
        ({"top": 0}, r"top must be at least 1, got 0"),
        ({"device": "tpu"}, r"device 'tpu' is unknown"),
    ],
)
def test_impossible_value_fails(changes, message):
    settings = PredictConfig(weights=Path("w.pt"), crop=256, frames=1, top=1)
    with pytest.raises(InvalidInput, match=message):
        replace(settings, **changes)


@pytest.mark.parametrize("clip", REFERENCE_CLIPS)
def test_real_clip_gets_the_reference_logits(clip, shared_data, released_weights):
    lines = (shared_data / "i3d" / "reference_predictions.jsonl").read_text().splitlines()
    (reference,) = (record for record in map(json.loads, lines) if record["clip"] == clip)
    (prediction,) = predict([shared_data / clip], PredictConfig(weights=released_weights, top=400, precision="fp32"))
    logits = {guess.label: guess.logit for guess in prediction.guesses}
    assert prediction.frames == reference["frames"]
    assert prediction.guesses[0].label == reference["top"][0][0]
    assert {label: logits[label] for label, _, _ in reference["top"]} == pytest.approx(
        {label: logit for label, _, logit in reference["top"]}, abs=0.05
    )
    assert prediction.logits_norm == pytest.approx(reference["norm"], abs=0.1)


def test_preview_of_the_published_clip_gives_the_published_order(shared_data, released_weights):
    with av.open(shared_data / "i3d" / "v_CricketShot_g04_c01_rgb.gif") as container:
        frames_THW3 = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    network = build("i3d", num_classes=400, stream="rgb").eval()
    weights.load(network, released_weights)
    x_CTHW = torch.from_numpy(frames_THW3).permute(3, 0, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        best = network(x_CTHW[None])[0].topk(5).indices.tolist()
    # after a heading, lines of probability, logit and class
    published = (shared_data / "i3d" / "deepmind_tfv1_no_imagenet_rgb.txt").read_text().split("probabilities\n")[1]
    assert [label_table("kinetics400")[k] for k in best] == [
        line.split(maxsplit=2)[2] for line in published.splitlines()[:5]
    ]
