import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import BadMedia, Cause
from preprocess.outcomes import Outcome
from preprocess.store import store_clip
from tests.preprocess.conftest import numbered_frames, textured_frames, write_video

CLIP = Clip(youtube_id="abcdefghijk", time_start=1, time_end=5, split="train", label="tai chi", line=2)
PLACE = "train/tai_chi/abcdefghijk_000001_000005.mp4"


@pytest.fixture
def config(tmp_path):
    return DownloadConfig(out=tmp_path / "clips")


def test_clip_is_moved_to_its_place(tmp_path, config):
    made = write_video(tmp_path / "made.mp4", numbered_frames(100))
    content = made.read_bytes()
    entry = store_clip(CLIP, made, config=config, source="url")
    assert not made.exists()
    assert (config.out / entry.path).read_bytes() == content
    assert (entry.outcome, entry.source, entry.path) == (Outcome.DONE, "url", PLACE)
    assert (entry.sha256, entry.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_clip_is_on_the_disk_before_it_has_its_name(tmp_path, config, monkeypatch):
    made = write_video(tmp_path / "made.mp4", numbered_frames(100))
    file, synced = made.stat().st_ino, []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, made.exists())))
    entry = store_clip(CLIP, made, config=config, source="url")
    assert synced == [(file, True), ((config.out / entry.path).parent.stat().st_ino, False)]


def test_still_and_black_seconds_are_noted(tmp_path, config):
    black, still = np.zeros((51, 48, 64, 3), np.uint8), np.repeat(textured_frames(1), 54, axis=0)
    made = write_video(tmp_path / "made.mp4", np.concatenate([black, still]), gop=250)
    entry = store_clip(CLIP, made, config=config, source="url")
    assert (entry.frozen_s, entry.black_s) == (4.2, 2.04)


@pytest.mark.parametrize(
    ("frames", "message"), [(75, r"holds 3\.00 of the 4 wanted seconds \(75 frames\)"), (1, "1 frames decoded")]
)
def test_short_clip_fails_and_is_not_stored(tmp_path, config, frames, message):
    made = write_video(tmp_path / "made.mp4", numbered_frames(frames))
    with pytest.raises(BadMedia, match=message) as caught:
        store_clip(CLIP, made, config=config, source="url")
    assert caught.value.cause is Cause.TOO_SHORT
    assert not (config.out / PLACE).exists()


def test_clip_of_just_the_least_share_is_stored(tmp_path):
    config = DownloadConfig(out=tmp_path / "clips", min_share=0.75)
    made = write_video(tmp_path / "made.mp4", numbered_frames(75))
    assert store_clip(CLIP, made, config=config, source="url").duration_s == 3.0


def test_clip_without_a_label_has_the_folder_of_none(tmp_path, config):
    made = write_video(tmp_path / "made.mp4", numbered_frames(100))
    entry = store_clip(replace(CLIP, label=None), made, config=config, source="url")
    assert (entry.label, entry.path) == (None, PLACE.replace("tai_chi", "unlabelled"))


def test_damaged_clip_fails_and_is_not_stored(tmp_path, config):
    made = tmp_path / "made.mp4"
    made.write_bytes(b"\x00" * 5000)
    with pytest.raises(BadMedia, match="not a video file"):
        store_clip(CLIP, made, config=config, source="url")
    assert not (config.out / PLACE).exists()
