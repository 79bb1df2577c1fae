from dataclasses import replace

import numpy as np
import pytest

from pipelines import LOADERS, Portion
from pipelines.portion import Storage, open_clips
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import Index, ShardAttributes
from preprocess.shards.write import write_shard
from tests.pipelines.small_loader import assert_same_epochs, open_small
from tests.pipelines.tiny_shards import LABELS, flat_clip, textured_clip, write_set


def write_labelled(folder, split, clips, labels, **attributes):
    info = write_shard(
        folder / f"{split}-00000-of-00001.h5", clips, ShardAttributes(short_side=48, labels=labels, **attributes)
    )
    Index(config={}, labels=labels, shards=(info,)).write(folder)
    return folder


@pytest.fixture
def other(tmp_path):
    """Five clips of which one class has a number of its own here."""
    clips = [textured_clip(f"other{n}", label=n % 2, frames=12, size=(48, 64)) for n in range(5)]
    return write_labelled(tmp_path / "other", "train", clips, ("yoga", "judo"))


@pytest.mark.parametrize("backend", LOADERS)
def test_mixture_reads_each_set_by_its_weight(shards, other, backend):
    loader = open_small(shards, backend, batch_size=1)
    mixed = open_small([(shards, 1), (other, 3)], backend, batch_size=1)
    assert len(loader) == 11
    assert len(mixed) == 16
    keys = [batch["key"][0] for batch in mixed]
    assert sum(key.startswith("other") for key in keys) == 12
    assert len({key for key in keys if key.startswith("train")}) == 4


def test_labels_of_a_mixture_are_joined_by_name(shards, other):
    mixed = open_small([(shards, 1), (other, 1)], "torch", batch_size=1)
    assert mixed.labels == (*LABELS, "judo")
    for batch in mixed:
        number = int(batch["key"][0][5:])
        names = ("yoga", "judo") if batch["key"][0].startswith("other") else LABELS
        assert mixed.labels[batch["label"]] == names[number % len(names)]


def test_both_loaders_mix_alike(shards, other):
    options = {"balanced": True, "batch_size": 4}
    dali, oracle = (open_small([(shards, 2), (other, 1)], backend, **options) for backend in LOADERS)
    assert_same_epochs(dali, oracle, epochs=2)


def test_evaluation_of_a_mixture_reads_every_clip_once(shards, other):
    mixed = open_small([(shards, 1), (other, 9)], "torch", split="train", training=False)
    keys = [key for batch in mixed for key in batch["key"]]
    assert keys == [*(f"train{n:02d}" for n in range(11)), *(f"other{n}" for n in range(5))]


def test_portion_has_a_split_and_a_list_of_its_own(shards, other, tmp_path):
    (tmp_path / "fold.csv").write_text("key,label,split\nother1,judo,train\nother4,yoga,train\ngone,yoga,train\n")
    portions = [Portion(shards=shards, split="test"), Portion(shards=other, clips=tmp_path / "fold.csv")]
    opened = open_clips(portions, split="train")
    assert [key.decode() for key in opened.shards.clips.key] == ["flat0", "flat1", "flat2", "other1", "other4"]
    assert opened.missing == ("gone",)
    assert [(share.clips, share.weight) for share in opened.shares] == [(3, 1.0), (2, 1.0)]


def test_frames_of_a_mixture_come_from_their_own_shards(shards, other):
    opened = open_clips([(shards, 1), (other, 1)], split="train")
    alone = open_clips(other, split="train")
    for clip in range(5):
        for stream in ("rgb", "flow"):
            assert opened.shards.jpeg(stream, 11 + clip, 3).tobytes() == alone.shards.jpeg(stream, clip, 3).tobytes()


def test_sets_of_another_flow_scale_fail(shards, tmp_path):
    other = write_labelled(tmp_path, "train", [flat_clip("a", label=0, frames=9)], LABELS, flow_bound=10.0)
    with pytest.raises(BadShard, match=r"has flow_bound 10\.0, .* has 20\.0; make both with one configuration"):
        open_small([(shards, 1), (other, 1)], "torch")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "shards is empty"),
        ([("a", 1, 2)], r"\('a', 1, 2\) is no part of a mixture"),
        ([("a", "much")], "is no part of a mixture"),
        ([3], "3 is no part of a mixture"),
    ],
)
def test_mixture_that_makes_no_sense_fails(given, message):
    with pytest.raises(InvalidInput, match=message):
        open_clips(given, split="train")


def test_one_list_for_several_sets_fails(shards, other):
    with pytest.raises(
        InvalidInput, match=r"clips='fold\.csv' is of one data set, shards of 2; give clips in a Portion"
    ):
        open_clips([(shards, 1), (other, 1)], split="train", clips="fold.csv")


def test_label_without_a_name_fails(shards, tmp_path):
    other = write_set(tmp_path, {"train": [[flat_clip("a", label=7, frames=9)]]})
    with pytest.raises(BadShard, match="clip a has label 7"):
        open_clips([(shards, 1), (other, 1)], split="train")


def test_address_without_a_cache_fails():
    with pytest.raises(
        InvalidInput, match=r"shards at s3://bucket/x are copied before they are read; give cache=FOLDER"
    ):
        open_clips("s3://bucket/x", split="train")


def test_tables_of_local_shards_are_kept(shards, tmp_path):
    plain = open_clips(shards, split="train").shards
    storage = Storage(cache=tmp_path / "cache")
    first, second = (open_clips(shards, split="train", storage=storage).shards for _ in range(2))
    assert [path.suffix for path in (tmp_path / "cache").iterdir() if path.suffix] == [".npz"]
    for kept in (first, second):
        assert kept.attributes == replace(plain.attributes, failed=kept.attributes.failed)
        assert np.array_equal(kept.clips.key, plain.clips.key)
        assert kept.jpeg("flow", 10, 2).tobytes() == plain.jpeg("flow", 10, 2).tobytes()


def packed_in_an_unknown_way(content):
    """As its directory says of the first entry."""
    at = content.index(b"PK\x01\x02") + 10
    return content[:at] + b"\x0d" + content[at + 1 :]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], packed_in_an_unknown_way])
def test_damaged_table_is_read_anew(shards, tmp_path, caplog, damage):
    options = {"split": "train", "storage": Storage(cache=tmp_path)}
    before = open_clips(shards, **options).shards.clips.key.tolist()
    (kept,) = tmp_path.glob("*.npz")
    content = kept.read_bytes()
    kept.write_bytes(damage(content))
    assert kept.read_bytes() != content
    assert open_clips(shards, **options).shards.clips.key.tolist() == before
    assert "is damaged" in caplog.text
    assert kept.read_bytes() == content


def test_missing_shard_is_told_in_spite_of_a_kept_table(tmp_path):
    folder = write_set(tmp_path / "set", {"train": [[flat_clip(key, label=0, frames=9)] for key in "ab"]})
    storage = Storage(cache=tmp_path / "cache")
    open_clips(folder, split="train", storage=storage)
    (folder / "train-00000-of-00002.h5").unlink()
    with pytest.raises(BadShard, match=r"00000-of-00002\.h5 is missing"):
        open_clips(folder, split="train", storage=storage)
    assert list(open_clips(folder, split="train", skip_bad=True, storage=storage).shards.bad) == [0]
