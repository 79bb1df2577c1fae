import logging

import pytest

from pipelines import LOADERS
from pipelines.clip_list import choose, read_clip_list
from preprocess.errors import InvalidInput
from preprocess.shards import ShardSet
from tests.pipelines.small_loader import open_small
from tests.pipelines.tiny_shards import LABELS, flat_clip, textured_clip, write_set


@pytest.fixture
def folds(tmp_path):
    """Shards of one set of clips, named after fold 1; returns the folder and a writer of lists."""
    clips = {f"c{n}": textured_clip(f"c{n}", label=n % 3, frames=9, size=(48, 64)) for n in range(8)}
    split = {"train": [[clips["c0"], clips["c3"]], [clips["c5"]]], "test": [[clips["c1"], clips["c2"], clips["c7"]]]}
    folder = write_set(tmp_path / "shards", split | {"extra": [[clips["c4"], clips["c6"]]]})

    def write(rows, name="fold2.csv"):
        path = tmp_path / name
        path.write_text("key,label,split\n" + "".join(f"{row}\n" for row in rows))
        return path

    return folder, write


def row(number: int, split: str, label: str | None = None) -> str:
    return f"c{number},{LABELS[number % 3] if label is None else label},{split}"


@pytest.mark.parametrize("backend", LOADERS)
def test_loader_reads_the_clips_of_the_list(folds, backend, caplog):
    folder, write = folds
    fold = write([row(7, "train"), row(4, "train"), row(0, "train"), row(1, "test"), row(3, "test"), row(2, "extra")])
    training = open_small(folder, backend, clips=fold, batch_size=3)
    (batch,) = training
    assert sorted(batch["key"]) == ["c0", "c4", "c7"]
    assert [LABELS[label] for label in batch["label"]] == [LABELS[int(key[1:]) % 3] for key in batch["key"]]
    testing = open_small(folder, backend, clips=fold, split="test", training=False)
    assert [key for batch in testing for key in batch["key"]] == ["c1", "c3"]
    assert testing.missing == ()
    assert "in no shard" not in caplog.text


def test_keys_that_no_shard_has_are_counted_and_named(folds, caplog):
    folder, write = folds
    fold = write([row(0, "train"), "gone1,yoga,train", row(1, "train"), "gone2,yoga,train", "gone3,yoga,test"])
    with caplog.at_level(logging.WARNING, logger="pipelines"):
        loader = open_small(folder, "torch", clips=fold)
    assert loader.missing == ("gone1", "gone2")
    assert "2 of 4 clips of split 'train' in" in caplog.text
    assert "such as gone1, gone2" in caplog.text
    assert len(loader.shards) == 2


def test_other_label_than_the_shards_fails(folds):
    folder, write = folds
    fold = write([row(0, "train"), row(1, "train", "zumba"), row(5, "train", "archery")])
    with pytest.raises(
        InvalidInput, match=r"2 of 3 clips have another label .* c1: 'zumba' in the list, 'yoga' in .*h5"
    ):
        open_small(folder, "torch", clips=fold)


def test_unlabelled_clips_go_with_an_empty_label(tmp_path):
    folder = write_set(tmp_path, {"test": [[flat_clip("c0", label=-1, frames=9)]]})
    (tmp_path / "list.csv").write_text("key,label,split\nc0,,val\n")
    chosen, _ = choose(ShardSet(folder, None), read_clip_list(tmp_path / "list.csv", split="val"))
    assert chosen.clips.label.tolist() == [-1]


def test_no_clip_of_the_list_in_the_shards_fails(folds):
    folder, write = folds
    with pytest.raises(
        InvalidInput, match=r"none of the 1 clips of split 'train' .* such as other; it has clips such as"
    ):
        open_small(folder, "torch", clips=write(["other,yoga,train"]))


def test_clip_in_two_shards_fails(tmp_path):
    clip = flat_clip("twice", label=0, frames=9)
    folder = write_set(tmp_path, {"train": [[clip]], "val": [[clip]]})
    (tmp_path / "list.csv").write_text("key,label,split\ntwice,archery,train\n")
    with pytest.raises(InvalidInput, match=r"clip twice is in .*train-.*h5 and in .*val-.*h5"):
        open_small(folder, "torch", clips=tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,split\nc0,train\n", "lacks the columns label; it needs key,label,split"),
        ("", "lacks the columns key, label, split"),
        ("key,label,split\nc0,yoga\n", r"line 2: 'c0','yoga',None is no clip"),
        ("split,key,label\ntrain,c0\n", r"line 2: 'c0',None,'train' is no clip"),
        ("key,label,split\nc0,yoga,training\n", "line 2: .*'training' is no clip; split is one of train, val"),
        ("key,label,split\n,yoga,train\n", "line 2: '','yoga','train' is no clip"),
        ("key,label,split\nc0,yoga,train\nc1,yoga,train\nc0,yoga,train\n", "line 4: c0 already stands in line 2"),
        ("key,label,split\nc0,yoga,train\nc0,yoga,val\n", "line 3: c0 already stands in line 2"),
        ("key,label,split\nc0,yoga,test\n", "has no clips of split 'train'; it has test"),
        ("key,label,split\n", "has no clips of split 'train'; it has none"),
        ('key,label,split\n"c0,yoga,train\n', "cannot be read"),
        (b"key,label,split\nc\xff0,yoga,train\n", "cannot be read"),
    ],
)
def test_list_that_makes_no_sense_fails(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput, match=message):
        read_clip_list(path, split="train")


def test_no_such_list_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.csv cannot be read"):
        read_clip_list(tmp_path / "none.csv", split="train")
