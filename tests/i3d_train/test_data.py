"""Tests of i3d_train.data."""

import logging
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from i3d_train.config import TrainConfig
from i3d_train.data import (
    check_scoring,
    check_size,
    check_training,
    network_input,
    note_small_crop,
    open_batches,
    readable,
    warn_of_unseen_classes,
)
from i3d_train.models.sampling import Sampling
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import ShardSet
from tests.i3d_train.small_shards import noisy_clips, opened, small_run, write_set

CPU = torch.device("cpu")


@pytest.fixture
def data(shards, tmp_path) -> TrainConfig:
    return small_run(shards, tmp_path / "run", model="i3d")


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_the_network_sees_its_stream(data, stream, channels):
    loader = open_batches(replace(data, stream=stream), opened(data, "train"), training=True, device=CPU)
    x = network_input(next(iter(loader)), stream=stream, device=CPU)
    assert x.shape == (4, channels, 9, 32, 32)


def test_good_shards_pass(data):
    assert len(check_training(data).shards) == 8


def test_missing_split_fails(data, tmp_path):
    folder = write_set(tmp_path, {"val": noisy_clips("val", [0, 1])})
    with pytest.raises(InvalidInput, match=r"has no clips in split 'train'; it has val"):
        check_training(replace(data, shards=folder))


def test_training_without_labels_fails(data, tmp_path):
    folder = write_set(tmp_path, {"train": noisy_clips("train", [0, -1, 1, -1])})
    with pytest.raises(InvalidInput, match=r"2 of 4 clips of the train split have no label, such as train1, train3"):
        check_training(replace(data, shards=folder))


def test_label_beyond_the_names_is_in_no_shard_fails(tmp_path):
    with pytest.raises(BadShard, match="clip train3 has label 5, outside -1 to 1"):
        write_set(tmp_path, {"train": noisy_clips("train", [0, 1, 1, 5])})


def test_batch_larger_than_the_data_fails(data):
    with pytest.raises(
        InvalidInput, match=r"batch_size 9 is larger than the 8 clips of the train split in .*shards.*; use 8 or"
    ):
        check_training(replace(data, batch_size=9))


def test_batches_of_all_processes_larger_than_the_data_fails(data):
    with pytest.raises(InvalidInput, match=r"batch_size 4 on 3 processes is larger than the 8 clips .*; use 2 or less"):
        check_training(data, processes=3)


def test_shards_of_another_frame_rate_fails(data):
    with pytest.raises(InvalidInput, match=r"fps 24 was asked for, .* have 25; .* flow --fps 24`, or give --fps 25"):
        check_training(replace(data, fps=Fraction(24)))


def test_shards_of_another_short_side_fails(data):
    with pytest.raises(InvalidInput, match=r"short_side 64 was asked for, .* have 40; .*or give --short-side 40"):
        check_training(replace(data, short_side=64))


def test_crop_below_what_a_network_needs_fails(data):
    with pytest.raises(InvalidInput, match=r"c3d needs a crop of at least 194 pixels, got crop 32"):
        check_training(replace(data, model="c3d", frames=16))


def test_both_streams_are_of_the_same_clips(data):
    batch = next(iter(open_batches(replace(data, stream="both"), opened(data, "train"), training=True, device=CPU)))
    x = network_input(batch, stream="both", device=CPU)
    assert {name: tuple(clips.shape) for name, clips in x.items()} == {
        "rgb": (4, 3, 9, 32, 32),
        "flow": (4, 2, 9, 32, 32),
    }


def test_the_network_sees_what_it_samples(data):
    batch = next(iter(open_batches(data, opened(data, "train"), training=True, device=CPU)))
    x = network_input(batch, stream="rgb", device=CPU, sampling=Sampling(rgb_stride=4, shrink=2))
    assert x.shape == (4, 3, 3, 16, 16)


def test_layout_in_memory_is_as_asked(data):
    batch = next(iter(open_batches(data, opened(data, "train"), training=True, device=CPU)))
    x = network_input(batch, stream="rgb", device=CPU, layout=torch.channels_last_3d)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)


def test_too_few_frames_fails(data):
    with pytest.raises(InvalidInput, match=r"i3d needs at least 9 frames, got frames 8"):
        check_size(readable(opened(data, "train")), frames=8, crop=32, model="i3d")


def test_crop_beyond_the_short_side_fails(data):
    with pytest.raises(InvalidInput, match=r"crop 41 is larger than the short side of the shards, 40 pixels; use less"):
        check_training(replace(data, crop=41))
    with pytest.raises(InvalidInput, match=r"40 pixels; c3d needs 194, make them with `preprocess flow --short-side`"):
        check_training(replace(data, model="c3d", frames=16, crop=224))


def test_scoring_without_any_label_fails(tmp_path):
    folder = write_set(tmp_path, {"test": noisy_clips("test", [-1, -1])})
    with pytest.raises(InvalidInput, match=r"none of the 2 clips in split 'test' has a label to score against"):
        check_scoring(ShardSet(folder, "test"), frames=9, crop=32, model="i3d")


def test_clips_that_are_not_scored_are_counted(tmp_path, caplog):
    folder = write_set(tmp_path, {"val": noisy_clips("val", [0, -1])})
    with caplog.at_level(logging.WARNING):
        check_scoring(ShardSet(folder, "val"), frames=9, crop=32, model="i3d")
    assert "1 of 2 clips in split 'val' have no label and are not scored" in caplog.text


def test_class_without_training_clips_is_named(tmp_path, caplog):
    splits = {"train": noisy_clips("train", [0, 0]), "val": noisy_clips("val", [0, 1])}
    folder = write_set(tmp_path, splits)
    with caplog.at_level(logging.WARNING):
        warn_of_unseen_classes(ShardSet(folder, "train"), ShardSet(folder, "val"))
    assert "1 classes of the val split have no clip in train, such as 'light'" in caplog.text


@pytest.mark.parametrize(("crop", "told"), [(192, True), (193, False), (224, False)])
def test_crop_that_shrinks_the_last_pool_is_told(crop, told, caplog):
    with caplog.at_level(logging.INFO):
        note_small_crop(crop)
    assert ("smaller than 7x7" in caplog.text) == told
