"""Runs and evaluations on lists, far shards, damaged shards and uneven classes: what the feed offers reaches them."""

import json
import logging
import re
from collections import Counter
from dataclasses import replace

import fsspec
import pytest
import torch

from i3d_train.data import open_batches, readable
from i3d_train.evaluate import EvaluateConfig, evaluate
from i3d_train.events import Started, Validated
from i3d_train.features import FeaturesConfig, extract
from i3d_train.process_group import ALONE
from i3d_train.train import train
from i3d_train.validation import open_validation
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import Index, ShardAttributes
from preprocess.shards.layout import shard_name
from preprocess.shards.write import write_shard
from tests.i3d_train.small_shards import LABELS, SIDE, noisy_clips, opened, write_set
from tests.i3d_train.test_train import losses


@pytest.fixture
def in_memory(shards):
    """The shards in fsspec's memory file system."""
    address = "memory://far-shards"
    files = fsspec.filesystem("memory")
    files.put(str(shards), address, recursive=True)
    yield address
    files.rm(address, recursive=True)


@pytest.fixture
def damaged(tmp_path):
    """Two shards a split, the second of each cut short."""
    infos = []
    for split in ("train", "val"):
        clips = noisy_clips(split, [0, 1] * 4)
        for number, part in enumerate((clips[:4], clips[4:])):
            attributes = ShardAttributes(short_side=SIDE, labels=LABELS)
            infos.append(write_shard(tmp_path / "damaged" / shard_name(split, number, 2), part, attributes))
    Index(config={}, labels=LABELS, shards=tuple(infos)).write(tmp_path / "damaged")
    for split in ("train", "val"):
        path = tmp_path / "damaged" / shard_name(split, 1, 2)
        path.write_bytes(path.read_bytes()[:-1000])
    return tmp_path / "damaged"


def test_list_says_what_is_trained_and_validated_on(config, tmp_path, caplog):
    folder = write_set(tmp_path / "ucf", {"train": noisy_clips("train", [0, 1] * 4), "test": noisy_clips("test", [0])})
    rows = [f"train{n},{LABELS[n % 2]},{'train' if n < 5 else 'test'}" for n in range(7)]
    rows += [f"gone{split},{LABELS[0]},{split}" for split in ("train", "test")]
    (tmp_path / "fold1.csv").write_text("\n".join(["key,label,split", *rows]) + "\n")
    seen = []
    listed = replace(config, shards=folder, clips=tmp_path / "fold1.csv", val_split="test")
    with caplog.at_level(logging.WARNING):
        train(replace(listed, steps=2, precise_bn=1), observe=seen.append)
    assert [event.clips for event in seen if isinstance(event, Started)] == [5]
    assert {event.clips for event in seen if isinstance(event, Validated)} == {2}
    # once: each split is opened once, whatever reads it
    assert re.findall(r"are in no shard of .*, such as (\w+)", caplog.text) == ["gonetrain", "gonetest"]


def test_list_without_the_split_to_validate_on_is_told(config, tmp_path, caplog):
    (tmp_path / "list.csv").write_text(
        "key,label,split\n" + "".join(f"train{n},{LABELS[n % 2]},train\n" for n in range(4))
    )
    with caplog.at_level(logging.WARNING):
        assert train(replace(config, clips=tmp_path / "list.csv", steps=1)).validation is None
    assert "list.csv has no clips of split 'val'; it has train: no validation" in caplog.text


def test_balanced_draws_every_class_equally_often(config, tmp_path):
    folder = write_set(tmp_path / "uneven", {"train": noisy_clips("train", [0] * 7 + [1])})
    drawn = Counter()
    for balanced in (False, True):
        chosen = replace(config, shards=folder, batch_size=2, balanced=balanced)
        loader = open_batches(chosen, opened(chosen, "train"), training=True, device=torch.device("cpu"))
        drawn[balanced] = sum(int(batch["label"].sum()) for batch in loader)
    assert drawn == {False: 1, True: 4}


def test_far_shards_give_the_run_that_near_ones_give(config, in_memory, tmp_path):
    train(replace(config, out=tmp_path / "near"))
    train(replace(config, shards=in_memory, cache=tmp_path / "cache", out=tmp_path / "far"))
    assert losses(tmp_path / "far") == losses(tmp_path / "near")
    assert list((tmp_path / "cache").glob("*.h5"))


def test_far_shards_without_a_cache_fails(config, in_memory):
    with pytest.raises(InvalidInput, match=r"shards at memory://far-shards are copied .* give cache=FOLDER"):
        train(replace(config, shards=in_memory))


def test_password_of_an_address_is_not_written_down(config, tmp_path):
    told = replace(config, shards="https://me:secret@host/shards?key=secret", cache=tmp_path).to_json()
    assert told["shards"] == "https://host/shards"
    assert "secret" not in json.dumps(told)


def test_damaged_shard_stops_a_run_unless_it_is_skipped(config, damaged, caplog):
    with pytest.raises(BadShard, match=r"train-00001-of-00002.h5 has"):
        train(replace(config, shards=damaged))
    seen = []
    with caplog.at_level(logging.WARNING):
        train(replace(config, shards=damaged, on_bad_shard="skip", steps=2), observe=seen.append)
    assert [event.clips for event in seen if isinstance(event, Started)] == [4]
    assert "skipping the 4 clips of shard" in caplog.text
    for when in ("epoch 0", "training"):
        assert re.search(rf"up to the end of {when}: [1-9]\d* windows of 1 shards and 0 clips skipped", caplog.text)


def test_shard_to_validate_on_is_skipped_in_balanced_training_too(config, damaged):
    config = replace(config, shards=damaged, on_bad_shard="skip")
    where = {"device": torch.device("cpu"), "precision": "fp32", "group": ALONE}
    assert open_validation(replace(config, balanced=True), train=opened(config, "train"), **where) is not None


def test_clips_of_skipped_shards_are_those_that_can_be_read(config, damaged):
    found = readable(opened(replace(config, shards=damaged, on_bad_shard="skip"), "train"))
    assert found.clips.key.tolist() == [b"train0", b"train1", b"train2", b"train3"]


LARGE_CROP = r"crop 41 is larger than the short side of the shards, 40 pixels; use less"


def test_evaluation_counts_what_it_skipped(config, damaged, shards, tmp_path):
    train(replace(config, steps=1, checkpoint_every=1))
    evaluation = EvaluateConfig(
        shards=damaged, weights=config.out / "checkpoint-1.pt", frames=9, crop=32, windows=2, batch_size=2, device="cpu"
    )
    with pytest.raises(BadShard, match=r"val-00001-of-00002.h5 has"):
        evaluate(evaluation)
    with pytest.raises(InvalidInput, match=LARGE_CROP):
        evaluate(replace(evaluation, on_bad_shard="skip", crop=41))
    found = evaluate(replace(evaluation, on_bad_shard="skip"))
    assert (found.clips, found.missing) == (4, 4)


def test_features_name_what_was_skipped(config, damaged, tmp_path):
    train(replace(config, model="i3d", width=0.1, steps=1, checkpoint_every=1))
    wanted = FeaturesConfig(
        weights=config.out / "checkpoint-1.pt",
        out=tmp_path / "features.npz",
        shards=damaged,
        frames=9,
        crop=32,
        device="cpu",
        on_bad_shard="skip",
    )
    with pytest.raises(InvalidInput, match=LARGE_CROP):
        extract(replace(wanted, crop=41))
    report = extract(wanted)
    assert (report.clips, report.total) == (4, 8)
    assert [name.endswith("val-00001-of-00002.h5") for name in report.failed] == [True]
