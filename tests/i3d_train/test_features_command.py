"""Tests of i3d_train.commands.features and i3d_train.commands.export."""

import os
import signal

import h5py
import pytest
from click.testing import CliRunner

from i3d_train.commands.export import export
from i3d_train.commands.features import features
from preprocess.errors import InvalidInput
from tests.i3d_train.small_videos import write_video
from tests.i3d_train.small_weights import small_network, write_small


@pytest.fixture
def weights(tmp_path):
    return write_small(tmp_path / "w.safetensors", small_network("i3d", stream="rgb"), model="i3d")


def test_features_are_written_and_failures_reported(weights, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"")
    video = write_video(tmp_path / "a.mp4", frames=12)
    videos = [tmp_path / "bad.mp4", tmp_path / "gone.mp4", video]
    arguments = [*videos, "--weights", weights, "--out", tmp_path / "f.h5", "--crop", 64]
    result = CliRunner().invoke(features, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 1
    assert result.stdout == f"1 clips, 1 steps, 64 numbers a feature\nwrote {tmp_path / 'f.h5'}\n"
    assert "2 of 3 clips have no features" in result.stderr
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["clip/key"][0].decode() == str(video)


def test_features_of_shards_are_written(weights, shards, tmp_path):
    arguments = ["--shards", shards, "--weights", weights, "--out", tmp_path / "f.npz", "--crop", 32, "--threads", 1]
    result = CliRunner().invoke(features, [*map(str, arguments), "--device", "cpu", "--loader", "torch"])
    assert result.exit_code == 0
    assert result.stdout.startswith("3 clips, 3 steps, 64 numbers a feature\n")


def test_writing_over_the_weights_fails(weights, shards, tmp_path):
    (tmp_path / "link.npz").symlink_to(weights)
    arguments = ["--shards", shards, "--weights", weights, "--out", tmp_path / "link.npz", "--crop", 32]
    with pytest.raises(InvalidInput, match=r"link\.npz is the file to read; write to another one"):
        CliRunner().invoke(features, list(map(str, arguments)), catch_exceptions=False)


def test_request_to_terminate_leaves_nothing_behind(weights, tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.mp4", frames=12)
    before = set(tmp_path.iterdir())

    def terminate(*arguments, **options):
        assert set(tmp_path.iterdir()) != before
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("i3d_train.features._features", terminate)
    # the one that the command replaces, and puts back
    mine = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM is not handled"))
    try:
        arguments = [video, "--weights", weights, "--out", tmp_path / "f.h5", "--crop", 64, "--device", "cpu"]
        result = CliRunner().invoke(features, [*map(str, arguments)])
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert (result.exit_code, set(tmp_path.iterdir())) == (1, before)
    assert "Aborted!" in result.stderr


def test_program_is_written(tmp_path):
    weights = write_small(tmp_path / "c.safetensors", small_network("c3d", stream="rgb"), model="c3d")
    out = tmp_path / "c3d.pt2"
    result = CliRunner().invoke(export, [str(weights), str(out), "--frames", "16", "--crop", "196"])
    assert result.exit_code == 0
    assert result.stdout.startswith("c3d rgb, 2 classes, 16 frames of 196x196 pixels; logits differ by ")
    assert f"wrote {out}, {out.stat().st_size:,} bytes\n" in result.stdout
