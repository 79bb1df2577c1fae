"""Tests of i3d_train.features."""

import json
import logging
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from i3d_train.convert import convert
from i3d_train.features import FeaturesConfig, _check_window, extract, windows
from i3d_train.models import build
from i3d_train.models.convnet_lstm import ConvNetLSTM
from i3d_train.models.inception_i3d import InceptionI3D
from i3d_train.predict import clip_input
from pipelines import open_loader
from preprocess.errors import EnvironmentProblem, InvalidInput
from tests.i3d_train.small_shards import noisy_clips, write_set
from tests.i3d_train.small_videos import write_video
from tests.i3d_train.small_weights import small_network, write_small

SIZE = 64
"""Features of a sixteenth of I3D."""
DTYPES = {
    **dict.fromkeys(("clip/label", "clip/frames"), "int32"),
    **dict.fromkeys(("clip/feature", "step/feature"), "float32"),
    "step/first": "int64",
    "step/time": "float64",
}
"""Of what a file of features holds, but for the keys."""


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return small_network("i3d", stream="rgb")


@pytest.fixture
def of_videos(network, tmp_path) -> FeaturesConfig:
    return FeaturesConfig(
        weights=write_small(tmp_path / "w.safetensors", network, model="i3d"),
        out=tmp_path / "features.h5",
        videos=(write_video(tmp_path / "a.mp4", frames=20), write_video(tmp_path / "b.mp4", frames=28)),
        crop=64,
        device="cpu",
        loader="torch",
        threads=1,
    )


@pytest.fixture
def of_shards(of_videos, shards) -> FeaturesConfig:
    return replace(of_videos, videos=(), shards=shards, crop=32)


def test_features_are_the_networks(network, of_videos):
    report = extract(of_videos)
    with torch.inference_mode():
        wanted = [
            network.step_features(clip_input(path, stream="rgb", frames=250, crop=64)["rgb"])[0].T
            for path in of_videos.videos
        ]
    with h5py.File(of_videos.out) as file:
        first = file["step/first"][:]
        steps, clips = file["step/feature"][:], file["clip/feature"][:]
        assert (file["clip/frames"][:].tolist(), file["clip/label"][:].tolist()) == ([20, 28], [-1, -1])
    assert (report.clips, report.steps, report.size) == (2, sum(map(len, wanted)), SIZE)
    for number, steps_SF in enumerate(wanted):
        assert steps[first[number] : first[number + 1]] == pytest.approx(steps_SF.numpy(), abs=1e-6)
        assert clips[number] == pytest.approx(steps_SF.mean(0).numpy(), abs=1e-6)


def test_steps_have_their_times_at_the_rate_of_shards_or_training(of_videos, of_shards, network, tmp_path, caplog):
    slow = write_set(tmp_path / "slow", {"val": noisy_clips("val", [0])}, fps=Fraction(10))
    at_15 = write_small(tmp_path / "w15.safetensors", network, model="i3d", fps=Fraction(15))
    found = {}
    for config in (of_videos, replace(of_shards, shards=slow, weights=at_15), replace(of_videos, weights=at_15)):
        extract(config)
        with h5py.File(config.out) as file:
            found[json.loads(file["attributes"][()])["fps"]] = file["step/time"][:].tolist()
    # a step is of eight frames around it; 20 and 28 frames at 25 a second are 12 and 17 at 15
    numbers = {25: [9, 17, 9, 17, 25], 10: [9], 15: [9, 6, 14]}
    assert found == {fps: pytest.approx(np.array(frames) / fps) for fps, frames in numbers.items()}
    assert "fps 15, these shards have 10" in caplog.text


def test_shards_are_read_whole_with_key_and_label(of_shards, network, shards, tmp_path):
    extract(of_shards)
    loader = open_loader(
        shards, backend="torch", streams=("rgb",), frames=None, crop=32, batch_size=1, device="cpu", training=False
    )
    with torch.inference_mode():
        wanted = torch.cat([network.step_features(batch["rgb"]).mean(2) for batch in loader]).numpy()
    with h5py.File(of_shards.out) as file:
        assert [key.decode() for key in file["clip/key"]] == ["val0", "val1", "val2"]
        assert file["clip/label"][:].tolist() == [0, 1, 0]
        assert file["clip/frames"][:].tolist() == [12, 12, 12]
        assert file["clip/feature"][:] == pytest.approx(wanted, abs=1e-6)
        attributes = json.loads(file["attributes"][()])
    assert attributes.pop("weights") == f"{tmp_path.name}/w.safetensors"
    assert (attributes.pop("format"), attributes.pop("version")) == ("kineflow-features", 1)
    assert [attributes.pop(name) for name in ("model", "stream", "labels")] == ["i3d", "rgb", ["dark", "light"]]
    assert attributes == {"fps": 25.0, "crop": 32, "window": 250, "failed": {}}


def test_precision_and_split_are_those_asked_for(of_shards, tmp_path):
    # whose features are bf16 themselves there
    weights = write_small(tmp_path / "t.safetensors", small_network("two_stream", stream="rgb"), model="two_stream")
    found = {}
    for precision in ("fp32", "bf16"):
        extract(replace(of_shards, weights=weights, split="train", precision=precision))
        with h5py.File(of_shards.out) as file:
            assert [key.decode() for key in file["clip/key"]] == [f"train{number}" for number in range(8)]
            found[precision] = file["step/feature"][:]
    assert found["bf16"].dtype == np.float32
    assert not np.array_equal(found["bf16"], found["fp32"])
    assert np.abs(found["bf16"] - found["fp32"]).max() < 0.05 * np.abs(found["fp32"]).max()


def test_npz_holds_the_same(of_videos, tmp_path):
    extract(of_videos)
    extract(replace(of_videos, out=tmp_path / "features.npz"))
    with h5py.File(of_videos.out) as file, np.load(tmp_path / "features.npz", allow_pickle=False) as archive:
        names = [f"{group}/{name}" for group in ("clip", "step") for name in file[group]]
        assert set(names) == set(archive.files) - {"attributes"}
        assert {name: str(archive[name].dtype) for name in set(names) - {"clip/key"}} == DTYPES
        for name, dtype in DTYPES.items():
            assert np.array_equal(file[name][:], archive[name])
            assert file[name].dtype == dtype
        assert [key.decode() for key in file["clip/key"]] == archive["clip/key"].tolist()
        assert file["attributes"][()].decode() == str(archive["attributes"])


@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_names_that_are_no_utf8_are_written_all_the_same(ending, of_videos, tmp_path):
    strange = tmp_path / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    convert(of_videos.weights, weights := strange / "w.npz")
    video, out = of_videos.videos[0].rename(strange / "a.mp4"), strange / f"features.{ending}"
    extract(replace(of_videos, weights=weights, videos=(video, strange / "gone.mp4"), out=out))
    with h5py.File(out) if ending == "h5" else np.load(out) as file:
        attributes = json.loads(str(file["attributes"][()].decode() if ending == "h5" else file["attributes"]))
        (key,) = file["clip/key"][:]
    assert (key.decode() if ending == "h5" else key) == f"{tmp_path}/caf\\xe9/a.mp4"
    assert list(attributes["failed"]) == [f"{tmp_path}/caf\\xe9/gone.mp4"]
    assert attributes["weights"] == "caf\\xe9/w.npz"


def test_long_clips_are_seen_in_parts(of_videos, network):
    extract(replace(of_videos, frames=10))
    x = clip_input(of_videos.videos[1], stream="rgb", frames=250, crop=64)["rgb"]
    with torch.inference_mode():
        wanted = torch.cat([network.step_features(x[:, :, part])[0].T for part in (slice(10), slice(10, 28))])
    with h5py.File(of_videos.out) as file:
        first = file["step/first"][1]
        assert file["step/feature"][first:] == pytest.approx(wanted.numpy(), abs=1e-6)
        assert (np.diff(file["step/time"][first:]) > 0).all()


@pytest.mark.parametrize(
    ("length", "ends"), [(9, [9]), (10, [10]), (18, [18]), (19, [10, 19]), (20, [10, 20]), (28, [10, 28]), (5, [5])]
)
def test_parts_cover_a_clip_and_none_is_too_short(length, ends):
    parts = windows(length, window=10, least=9)
    assert [part.stop for part in parts] == ends
    assert [part.start for part in parts] == [0, *ends[:-1]]


@pytest.mark.parametrize(("frames", "steps"), [(80, 9 + 7), (81, 17)])
def test_last_part_has_the_64_frames_of_training(frames, steps, of_shards, tmp_path):
    (clip,) = noisy_clips("val", [0])
    long = replace(clip, rgb=clip.rgb * 12, flow=(clip.flow * 14)[:143])
    folder = write_set(tmp_path / "s", {"val": [long]})
    assert extract(replace(of_shards, shards=folder, frames=frames)).steps == steps


def test_a_frame_more_than_a_part_is_no_part_of_its_own(of_videos, tmp_path):
    network = small_network("convnet_lstm", stream="rgb").eval()
    lstm = write_small(tmp_path / "l.safetensors", network, model="convnet_lstm")
    video = write_video(tmp_path / "c.mp4", frames=26)
    extract(replace(of_videos, weights=lstm, videos=(video,), frames=25))
    x = clip_input(video, stream="rgb", frames=250, crop=64)["rgb"]
    with torch.inference_mode():
        wanted = network.step_features(x[:, :, ::5])[0, :, -1]
    with h5py.File(of_videos.out) as file:
        assert file["clip/feature"][0] == pytest.approx(wanted.numpy(), abs=1e-6)


def test_feature_of_an_lstm_clip_is_that_of_its_last_step(of_shards, tmp_path):
    lstm = write_small(tmp_path / "l.safetensors", small_network("convnet_lstm", stream="rgb"), model="convnet_lstm")
    extract(replace(of_shards, weights=lstm))
    with h5py.File(of_shards.out) as file:
        assert np.array_equal(file["clip/feature"][0], file["step/feature"][file["step/first"][1] - 1])


def test_both_streams_of_shards_are_seen_also_where_the_crop_is_larger_than_in_training(of_shards, tmp_path):
    both = write_small(tmp_path / "b.safetensors", small_network("i3d", stream="both"), model="i3d", short_side=24)
    assert extract(replace(of_shards, weights=both)).size == 2 * SIZE


def test_bad_video_costs_only_itself_fails(of_videos, tmp_path, caplog):
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    videos = (tmp_path / "bad.mp4", write_video(tmp_path / "short.mp4", frames=8), *of_videos.videos)
    with caplog.at_level(logging.INFO, logger="i3d_train.features"):
        report = extract(replace(of_videos, videos=videos))
    assert report.clips == 2
    assert caplog.messages == [f"{key}: {reason}" for key, reason in report.failed.items()]
    assert report.failed.keys() == {str(tmp_path / "bad.mp4"), str(tmp_path / "short.mp4")}
    assert report.failed[str(tmp_path / "short.mp4")] == "8 frames, i3d needs at least 9"


def test_features_that_are_not_finite_cost_only_their_clip_fails(of_videos, monkeypatch):
    real = InceptionI3D.step_features
    # the second video, which has 28 frames
    monkeypatch.setattr(
        InceptionI3D,
        "step_features",
        lambda network, x: real(network, x) + (torch.inf if x.shape[2] == 28 else 0),
    )
    report = extract(of_videos)
    assert report.clips == 1
    assert report.failed == {
        str(of_videos.videos[1]): "features are not finite; use --precision fp32, or other weights"
    }


def test_memory_that_is_too_small_fails(of_videos, monkeypatch):
    def full(network, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(InceptionI3D, "step_features", full)
    message = r"too small for one clip at a time; use fewer --frames, or a smaller --crop"
    with pytest.raises(EnvironmentProblem, match=message):
        extract(of_videos)
    assert not of_videos.out.exists()


@pytest.mark.parametrize(
    ("model", "change"),
    [
        # the last step, which is the feature of the clip, is finite
        (ConvNetLSTM, lambda steps_BFS: steps_BFS.index_fill(2, torch.tensor(0), torch.nan)),
        # each step is finite, and their sum is not
        (InceptionI3D, lambda steps_BFS: torch.full_like(steps_BFS, 3e38)),
    ],
)
def test_steps_and_clip_have_to_be_finite_both_fails(model, change, of_shards, tmp_path, monkeypatch):
    name = "i3d" if model is InceptionI3D else "convnet_lstm"
    weights = write_small(tmp_path / "m.safetensors", small_network(name, stream="rgb"), model=name)
    (clip,) = noisy_clips("val", [0])
    folder = write_set(tmp_path / "s", {"val": [replace(clip, rgb=clip.rgb * 3, flow=(clip.flow * 4)[:35])]})
    real = model.step_features
    monkeypatch.setattr(model, "step_features", lambda network, x: change(real(network, x)))
    report = extract(replace(of_shards, weights=weights, shards=folder))
    assert report.failed == {"val0": "features are not finite; use --precision fp32, or other weights"}


def test_progress_counts_clips_without_features_too(of_videos, of_shards, tmp_path):
    seen = []
    shortest = write_video(tmp_path / "c.mp4", frames=9)
    bad, short = tmp_path / "bad.mp4", write_video(tmp_path / "d.mp4", frames=8)
    bad.write_bytes(b"not a video")
    report = extract(replace(of_videos, videos=(bad, shortest, short)), observe=seen.append)
    assert (report.clips, list(report.failed)) == (1, [str(bad), str(short)])
    assert [(event.done, event.total) for event in seen] == [(2, 3), (3, 3)]
    (tmp_path / "fold1.csv").write_text("key,label,split\nval1,light,val\ngone,dark,val\n")
    seen.clear()
    extract(replace(of_shards, clips=tmp_path / "fold1.csv"), observe=seen.append)
    assert [(event.done, event.total) for event in seen] == [(2, 2)]


def test_clip_of_shards_that_cannot_be_read_is_named_where_it_is_skipped(of_shards, tmp_path):
    whole, bad = noisy_clips("val", [0, 1])
    folder = write_set(tmp_path / "s", {"val": [bad, whole]})
    (shard,) = folder.glob("*.h5")
    shard.write_bytes(shard.read_bytes().replace(bad.rgb[0], b"\0" * len(bad.rgb[0])))
    report = extract(replace(of_shards, shards=folder, on_bad_shard="skip"))
    assert (report.clips, list(report.failed)) == (1, ["val1"])
    with h5py.File(of_shards.out) as file:
        assert json.loads(file["attributes"][()])["failed"] == report.failed


@pytest.mark.parametrize(("model", "frames", "crop"), [("i3d", 9, 256), ("c3d", 1, 2 * 97), ("two_stream", 10, 1)])
def test_least_and_most_that_a_network_sees(model, frames, crop):
    _check_window(model, frames=frames, crop=crop)


def test_video_longer_than_allowed_fails(of_videos):
    report = extract(replace(of_videos, longest=20, crop=None))
    assert report.failed == {
        str(of_videos.videos[1]): "longer than 20 frames at 25 a second; cut it, or allow more (--longest)"
    }
    with h5py.File(of_videos.out) as file:
        assert json.loads(file["attributes"][()])["crop"] == 224


def test_without_any_feature_there_is_no_file(of_videos, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"")
    before = set(tmp_path.iterdir())
    assert extract(replace(of_videos, videos=(tmp_path / "bad.mp4",))).clips == 0
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["f.h5", "f.npz"])
def test_place_that_cannot_be_written_fails_before_the_first_clip(name, of_videos, tmp_path):
    (tmp_path / name).mkdir()
    before, seen = set(tmp_path.iterdir()), []
    with pytest.raises(InvalidInput, match=r"is a folder; give the name of a file"):
        extract(replace(of_videos, out=tmp_path / name), observe=seen.append)
    with pytest.raises(EnvironmentProblem, match=r"cannot write /proc/self/f"):
        extract(replace(of_videos, out=Path("/proc/self") / name), observe=seen.append)
    assert seen == []
    assert set(tmp_path.iterdir()) == before


def test_interrupted_the_old_file_stays_and_nothing_else(of_videos, tmp_path, monkeypatch):
    extract(of_videos)
    before, content = set(tmp_path.iterdir()), of_videos.out.read_bytes()

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(of_videos, observe=interrupt)
    assert set(tmp_path.iterdir()) == before
    assert of_videos.out.read_bytes() == content


def test_clips_of_a_list_that_no_shard_has_are_named(of_shards, tmp_path):
    # more of them than an attribute of HDF5 has room for
    gone = [f"gone{number:05d}" for number in range(3000)]
    rows = "".join(f"{key},dark,val\n" for key in gone)
    (tmp_path / "fold1.csv").write_text(f"key,label,split\nval1,light,val\n{rows}")
    report = extract(replace(of_shards, clips=tmp_path / "fold1.csv"))
    with h5py.File(of_shards.out) as file:
        attributes = json.loads(file["attributes"][()])
    assert report.clips == 1
    assert list(report.failed) == list(attributes["failed"]) == gone


def test_clip_too_short_is_named_and_the_others_go_on(of_shards, tmp_path):
    whole, cut = noisy_clips("val", [0, 1])
    folder = write_set(tmp_path / "s", {"val": [replace(cut, rgb=cut.rgb[:5], flow=cut.flow[:4]), whole]})
    report = extract(replace(of_shards, shards=folder))
    assert (report.clips, report.failed) == (1, {"val1": "5 frames, i3d needs at least 9"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"features are of videos or of shards, got neither"),
        ({"videos": (Path("a.mp4"),), "shards": Path("s")}, r"features are of videos or of shards, got both"),
        ({"videos": (Path("a.mp4"),) * 2}, r"a.mp4 is given 2 times"),
        ({"clips": Path("fold1.csv")}, r"the list fold1.csv is of clips in shards; give --shards with it"),
        ({"out": Path("f.csv")}, r"f.csv should end in .h5, .hdf5, .npz"),
        ({"longest": 0}, r"longest must be at least 1, got 0"),
        ({"frames": 0}, r"frames must be at least 1, got 0"),
        ({"crop": 0}, r"crop must be at least 1, got 0"),
        ({"split": "all"}, r"split 'all' is unknown; use one of train, val, test, extra"),
        ({"device": "tpu"}, r"device 'tpu' is unknown"),
        ({"loader": "fast"}, r"loader 'fast' is unknown"),
    ],
)
def test_impossible_value_fails(given, message):
    with pytest.raises(InvalidInput, match=message):
        FeaturesConfig(**{"weights": Path("w.pt"), "out": Path("f.h5")} | given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 8}, r"i3d needs at least 9 frames, got frames 8"),
        ({"crop": 300}, r"crop must be at most 256 pixels, got 300"),
    ],
)
def test_what_the_network_cannot_see_fails(changes, message, of_videos):
    with pytest.raises(InvalidInput, match=message):
        extract(replace(of_videos, **changes))


def test_network_whose_steps_have_no_known_times_fails_before_the_first_clip(of_videos, tiny, tmp_path):
    network = build(tiny, num_classes=2, stream="rgb")
    path = write_small(tmp_path / "t.safetensors", network, model=tiny)
    with pytest.raises(InvalidInput, match=r"when the steps of tiny are is not known; name its layers in i3d_train/st"):
        extract(replace(of_videos, weights=path, videos=(tmp_path / "gone.mp4",)))


@pytest.mark.parametrize(
    ("model", "stream", "every"), [("two_stream", "flow", 10), ("two_stream", "rgb", 10), ("convnet_lstm", "rgb", 5)]
)
def test_parts_that_break_a_stride_or_a_flow_stack_fails(model, stream, every, of_shards, tmp_path):
    path = write_small(tmp_path / "t.safetensors", small_network(model, stream=stream), model=model)
    with pytest.raises(InvalidInput, match=rf"{model} sees every {every}th frame, so .* a multiple of it, got 24"):
        extract(replace(of_shards, weights=path, frames=24))
