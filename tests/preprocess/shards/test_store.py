import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from preprocess.errors import BadShard
from preprocess.shards import Index, ShardSet
from preprocess.shards.store import FolderStore
from preprocess.shards.write import write_shard


@pytest.fixture
def folder(tmp_path, clips, attributes):
    """Three shards of two, one and two clips, and one of another split."""
    parts = [clips[:2], clips[2:], clips[1:]]
    infos = [write_shard(tmp_path / f"train-0000{n}-of-00003.h5", part, attributes) for n, part in enumerate(parts)]
    infos.append(write_shard(tmp_path / "val-00000-of-00001.h5", clips[:1], attributes))
    Index(config={}, labels=attributes.labels, shards=tuple(infos)).write(tmp_path)
    return tmp_path


def keys(shards):
    return [key.decode() for key in shards.clips.key]


def test_set_of_all_splits(folder):
    shards = ShardSet(folder, None)
    assert keys(shards) == ["clip_0", "clip_1", "clip_2", "clip_1", "clip_2", "clip_0"]
    assert shards.shard_of_clip.tolist() == [0, 0, 1, 2, 2, 3]
    assert shards.row_of_clip.tolist() == [0, 1, 0, 0, 1, 0]


def test_shards_stand_by_number_when_numbers_have_six_digits_too(tmp_path, clips, attributes):
    names = [f"train-{number:05d}-of-100001.h5" for number in (100_000, 99_999)]
    infos = [write_shard(tmp_path / name, [clip], attributes) for name, clip in zip(names, clips[:2], strict=True)]
    index = Index(config={}, labels=attributes.labels, shards=tuple(infos))
    index.write(tmp_path)
    assert [info.name for info in index.of_split("train")] == names[::-1]
    assert keys(ShardSet(tmp_path, None)) == ["clip_1", "clip_0"]


def test_some_clips_of_a_set(folder, clips):
    some = ShardSet(folder, None).only(np.array([4, 1]), split="test")
    assert keys(some) == ["clip_2", "clip_1"]
    assert some.split == "test"
    assert some.row_of_clip.tolist() == [1, 1]
    assert some.jpeg("flow", 0, 2).tobytes() == clips[2].flow[2]
    assert some.clip_bytes("rgb", 1).tobytes() == b"".join(clips[1].rgb)


def test_joined_sets_read_from_their_own_shards(folder, clips):
    joined = ShardSet.joined([ShardSet(folder, "val"), ShardSet(folder, "train")], labels=("new", "yoga", "surfing"))
    assert keys(joined) == ["clip_0", "clip_0", "clip_1", "clip_2", "clip_1", "clip_2"]
    assert joined.split is None
    alone = ShardSet(folder, "train")
    names = [alone.labels[label] if label >= 0 else None for label in alone.clips.label]
    assert [joined.labels[label] if label >= 0 else None for label in joined.clips.label[1:]] == names
    for row, clip in ((0, 0), (2, 1), (5, 2)):
        assert joined.jpeg("rgb", row, 1).tobytes() == clips[clip].rgb[1]


def test_joined_sets_know_their_bad_shards(folder, clips):
    (folder / "train-00001-of-00003.h5").unlink()
    sets = [ShardSet(folder, split, skip_bad=True) for split in ("val", "train")]
    joined = ShardSet.joined(sets, labels=sets[0].labels)
    assert keys(joined) == ["clip_0", "clip_0", "clip_1", "", "clip_1", "clip_2"]
    assert list(joined.bad) == [2]
    with pytest.raises(BadShard, match=r"train-00001-of-00003\.h5 is missing"):
        joined.jpeg("rgb", 3, 0)


def test_shard_that_changes_its_size_later_fails(folder):
    shards = ShardSet(folder, "val")
    with (folder / "val-00000-of-00001.h5").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BadShard, match=r"val-00000-of-00001\.h5 has \d+ bytes, the index says"):
        shards.jpeg("rgb", 0, 0)


def test_frames_in_any_order(folder, clips):
    jpegs = ShardSet(folder, "train").jpegs("rgb", 1, (2, 0, 1, 2))
    assert [jpeg.tobytes() for jpeg in jpegs] == [clips[1].rgb[n] for n in (2, 0, 1, 2)]


def test_no_more_shards_stay_open_than_allowed(folder):
    store = FolderStore(folder)
    store.keeps_open = 1
    shards = ShardSet(store, None)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        for clip in range(len(shards)):
            shards.jpeg("rgb", clip, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_shard_that_was_longest_not_read_is_closed(folder):
    store, mapped = FolderStore(folder), []
    map_as_it_is, store.keeps_open = store.map, 2
    store.map = lambda info: mapped.append(info.name) or map_as_it_is(info)
    shards = ShardSet(store, "train")
    for clip in (0, 2, 1, 3, 0, 3):  # of shard 0, 1, 0, 2, 0, 2
        shards.jpeg("rgb", clip, 0)
    assert [name[:11] for name in mapped] == ["train-00000", "train-00001", "train-00002"]


def test_view_outlives_the_open_shard(folder, clips):
    store = FolderStore(folder)
    store.keeps_open = 1
    shards = ShardSet(store, None)
    view = shards.jpeg("rgb", 0, 0)
    shards.jpeg("rgb", 2, 0)
    assert view.tobytes() == clips[0].rgb[0]


def test_set_travels_to_another_process(folder, clips):
    shards = ShardSet(folder, "train")
    shards.jpeg("rgb", 0, 0)
    copy = pickle.loads(pickle.dumps(shards))
    assert copy.jpeg("rgb", 2, 1).tobytes() == clips[2].rgb[1]


def test_reading_writes_nothing_into_the_folder(folder):
    def seen():
        return {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_size) for entry in folder.iterdir()}

    before = seen()
    shards = ShardSet(folder, None)
    for clip in range(len(shards)):
        shards.jpeg("flow", clip, 0)
    assert seen() == before


def test_shard_that_another_program_holds_for_writing_is_read(folder, clips):
    # network disks that cannot lock answer like this too
    import fcntl

    with (folder / "train-00000-of-00003.h5").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ShardSet(folder, "train").jpeg("rgb", 0, 0).tobytes() == clips[0].rgb[0]


def test_unreadable_shard_keeps_its_clips_places(folder):
    (folder / "train-00000-of-00003.h5").unlink()
    shards = ShardSet(folder, "train", skip_bad=True)
    assert keys(shards) == ["", "", "clip_2", "clip_1", "clip_2"]
    assert shards.clips.rgb_count.tolist()[:2] == [0, 0]
    assert shards.clips.label.tolist()[:2] == [-1, -1]
    ((number, reason),) = shards.bad.items()
    assert number == 0
    with pytest.raises(BadShard, match=r"00000-of-00003\.h5 is missing"):
        shards.jpegs("rgb", 0, ())
    assert reason.startswith(str(folder / "train-00000-of-00003.h5"))


def test_shard_of_another_configuration_fails(folder, clips, attributes):
    write_shard(folder / "train-00001-of-00003.h5", clips[2:], replace(attributes, flow_bound=15.0))
    with pytest.raises(
        BadShard, match=r"00001-of-00003\.h5 has flow_bound 15\.0, .*00000-of-00003\.h5 has 20\.0; make"
    ):
        ShardSet(folder, "train")


def test_shard_of_other_classes_fails(folder, clips, attributes):
    info = write_shard(folder / "train-00001-of-00003.h5", clips[2:], replace(attributes, labels=("x", "y", "z")))
    index = Index.read(folder)
    shards = tuple(info if old.name == info.name else old for old in index.shards)
    replace(index, shards=shards).write(folder)
    with pytest.raises(BadShard, match=r"00001-of-00003\.h5 has other label names than .*00000-of-00003\.h5"):
        ShardSet(folder, "train")


def test_other_number_of_clips_than_the_index_says_fails(folder):
    path = folder / "index.json"
    path.write_text(path.read_text().replace('"clips": 1', '"clips": 3'))
    with pytest.raises(BadShard, match=r"00001-of-00003\.h5 has 1 clips, the index says 3"):
        ShardSet(folder, "train")


def test_damaged_offsets_are_found_when_the_shard_is_read(folder):
    with h5py.File(folder / "train-00001-of-00003.h5", "r+") as file:
        file["rgb/offset"][1] = 0
    shards = ShardSet(folder, "train")
    assert len(shards.jpeg("rgb", 0, 0))
    with pytest.raises(BadShard, match=r"00001-of-00003\.h5: /rgb/offset does not rise"):
        shards.jpeg("rgb", 2, 0)
