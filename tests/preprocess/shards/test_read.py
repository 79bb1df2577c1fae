import json
import os
import pickle

import h5py
import numpy as np
import pytest

from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import Index, Shard, ShardSet
from preprocess.shards.head import read_head
from preprocess.shards.write import write_shard


@pytest.fixture
def written(shard_path, clips, attributes):
    write_shard(shard_path, clips, attributes)
    return shard_path


@pytest.fixture
def shard_set(tmp_path, clips, attributes):
    infos = [write_shard(tmp_path / f"train-0000{i}-of-00002.h5", clips[i : i + 2], attributes) for i in range(2)]
    infos.append(write_shard(tmp_path / "val-00000-of-00001.h5", [], attributes))
    Index(config={}, labels=attributes.labels, shards=tuple(infos)).write(tmp_path)
    return tmp_path


def test_jpeg_is_a_view_of_the_file(written):
    jpeg = Shard(written).jpeg("rgb", 0)
    assert not jpeg.flags.writeable
    assert not jpeg.flags.owndata


def test_shard_travels_to_another_process(written):
    shard = Shard(written)
    before = shard.jpeg("flow", 1).tobytes()
    pickled = pickle.dumps(shard)
    assert len(pickled) < 20_000  # tables, not the mapped bytes
    assert pickle.loads(pickled).jpeg("flow", 1).tobytes() == before


def test_clip_bytes_are_its_jpegs(written, clips):
    assert Shard(written).clip_bytes("rgb", 1).tobytes() == b"".join(clips[1].rgb)


def change(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


def shorten_widths(file):
    del file["clips/width"]
    file["clips/width"] = np.array([1, 2], np.int32)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda file: file.pop("clips/width"), "/clips/width is missing"),
        (shorten_widths, "clip columns differ in length"),
        (lambda file: file["rgb/offset"].__setitem__(1, 0), "/rgb/offset does not rise"),
        (lambda file: file["clips/rgb_first"].__setitem__(1, 2), "rgb ranges do not cover"),
        (lambda file: file["clips/flow_count"].__setitem__(0, 1), "flow ranges do not cover"),
        (lambda file: file.attrs.__setitem__("version", 2), "has shard version 2, this reader knows 1; upgrade"),
        (lambda file: file.attrs.__setitem__("format", "other"), "is not a kineflow-shard file"),
        (lambda file: file.attrs.__setitem__("complete", False), "not marked complete"),
        (lambda file: file.attrs.__delitem__("fps_den"), "attribute missing or malformed: KeyError"),
        (lambda file: file.attrs.__setitem__("labels", "{"), "attribute missing or malformed"),
    ],
)
def test_shard_that_breaks_the_contract_fails(written, how, message):
    change(written, how)
    with pytest.raises(BadShard, match=message):
        Shard(written)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_shard_fails(written, share):
    content = written.read_bytes()
    written.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadShard, match=r"train-00000-of-00001\.h5"):
        Shard(written)


def test_head_that_tells_of_more_than_the_file_has_fails(written):
    end = written.stat().st_size
    with pytest.raises(BadShard, match=rf"shard: /\w+/\w+ ends at byte \d+ of a file of {end // 2} bytes"):
        read_head(written, file_bytes=end // 2, source="shard")


def test_set_counts_through_its_shards(shard_set, clips):
    split = ShardSet(shard_set, "train")
    assert [key.decode() for key in split.clips.key] == ["clip_0", "clip_1", "clip_1", "clip_2"]
    assert split.jpeg("flow", 3, 2).tobytes() == clips[2].flow[2]
    assert split.labels == ("surfing", "yoga")


def test_files_outside_the_index_are_not_opened(shard_set, clips, attributes):
    write_shard(shard_set / "train-00007-of-00009.h5", clips, attributes)
    assert len(ShardSet(shard_set, "train")) == 4


def test_empty_split_fails(shard_set):
    with pytest.raises(InvalidInput, match="no clips in split 'val'; it has train"):
        ShardSet(shard_set, "val")


def test_index_with_other_label_names_fails(shard_set):
    path = shard_set / "index.json"
    path.write_text(path.read_text().replace("yoga", "yogb"))
    with pytest.raises(BadShard, match="the label names of the index are not those of its shards"):
        ShardSet(shard_set, "train")


def test_changed_head_fails_and_an_older_shard_is_told(written):
    change(written, lambda file: file["clips/label"].__setitem__(0, 1))
    with pytest.raises(BadShard, match=r"its attributes and clip table have CRC-32 \d+, written as \d+: the file"):
        Shard(written)


def test_no_index_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"does not exist; `preprocess flow` writes it last: give its --out"):
        ShardSet(tmp_path, "train")


def test_missing_and_short_shards_fail(shard_set):
    path = shard_set / "train-00001-of-00002.h5"
    os.truncate(path, 100)
    with pytest.raises(BadShard, match=r"00001-of-00002\.h5 has 100 bytes, the index says"):
        ShardSet(shard_set, "train")
    path.unlink()
    with pytest.raises(BadShard, match=r"00001-of-00002\.h5 is missing"):
        ShardSet(shard_set, "train")


STRAY = {"name": "../train-0.h5", "bytes": 1, "sha256": "", "clips": 1}
STRAY_INDEX = json.dumps({"format": "kineflow-shard", "version": 1, "config": {}, "labels": [], "shards": [STRAY]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": "x"}', "not an index"),
        ('{"format": "kineflow-shard", "version": 9}', "has version 9, this reader knows 1"),
        (STRAY_INDEX, "names a shard '../train-0.h5'"),
    ],
)
def test_damaged_index_fails(tmp_path, text, message):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadShard, match=message):
        Index.read(tmp_path)


def test_import_is_light():
    import subprocess
    import sys

    script = (
        "import preprocess.shards, sys; print([m for m in ('ray', 'torch', 'cv2', 'yt_dlp', 'av') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
