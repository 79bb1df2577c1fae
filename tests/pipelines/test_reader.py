"""Shards and clips that cannot be read; each test runs on both loaders."""

import itertools
import logging

import h5py
import pytest
import torch

from pipelines import LOADERS
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import ShardSet
from preprocess.shards.layout import shard_name
from tests.pipelines.small_loader import assert_equal, assert_same_epochs, open_small
from tests.pipelines.tiny_shards import textured_clip, write_set

pytestmark = pytest.mark.parametrize("backend", LOADERS)


def make_clips(count=12, frames=14):
    return [textured_clip(f"clip{n:02d}", label=n % 3, frames=frames, size=(48, 64)) for n in range(count)]


@pytest.fixture
def sound(tmp_path):
    """Twelve clips in three shards."""
    clips = make_clips()
    return write_set(tmp_path / "sound", {"train": [clips[:4], clips[4:8], clips[8:]]})


@pytest.fixture
def broken(tmp_path):
    """The same, with frame 5 of clip02 and flow 9 of clip07 no JPEGs."""
    clips = make_clips()
    clips[2].rgb[5] = clips[7].flow[9] = b"\xff\xd8" + bytes(40) + b"\xff\xd9"
    return write_set(tmp_path / "broken", {"train": [clips[:4], clips[4:8], clips[8:]]})


def damage(folder, key: str, stream: str, *, split: str = "train") -> None:
    """Flip one bit in the middle of a clip's bytes; it still decodes."""
    shards = ShardSet(folder, split)
    clip = shards.clips.key.tolist().index(key.encode())
    jpegs = shards.clip_bytes(stream, clip)
    path = folder / shards.infos[shards.shard_of_clip[clip]][1].name
    content = bytearray(path.read_bytes())
    place = content.index(jpegs.tobytes()) + len(jpegs) // 2
    content[place] ^= 1
    path.write_bytes(content)


def test_skipping_changes_nothing_where_nothing_is_broken(sound, backend):
    assert_same_epochs(open_small(sound, backend), open_small(sound, backend, on_bad_shard="skip"), epochs=2)


def test_other_clips_take_the_place_of_broken_ones(sound, broken, backend, caplog):
    expected, loader = open_small(sound, backend), open_small(broken, backend, on_bad_shard="skip")
    changed = 0
    with caplog.at_level(logging.WARNING, logger="pipelines"):
        for epoch in range(4):
            for number, (whole, found) in enumerate(zip(expected, loader, strict=True)):
                assert {name: found[name].shape for name in ("rgb", "flow")} == {
                    "rgb": (2, 3, 8, 32, 32),
                    "flow": (2, 2, 8, 32, 32),
                }
                for row, plan in enumerate(expected.sampler.batch(epoch, number)):
                    bad = (plan.clip == 2 and 5 in plan.frames) or (plan.clip == 7 and 9 in plan.frames)
                    same = whole["key"][row] == found["key"][row] and torch.equal(whole["rgb"][row], found["rgb"][row])
                    assert same != bad
                    changed += bad
    assert changed >= 2
    assert loader.skipped.clips.keys() == {"clip02", "clip07"}
    # a draw for the place of a broken one may be broken itself, and DALI is an epoch ahead
    assert loader.skipped.draws >= changed
    assert "rgb frame 5 is not a JPEG" in loader.skipped.clips["clip02"]
    assert [record.levelname for record in caplog.records].count("WARNING") == len(caplog.records) > 0
    assert "up to the end of epoch" in caplog.text


@pytest.mark.parametrize("batch_size", [2, 64])
def test_windows_are_told_by_the_end_of_their_epoch(tmp_path, backend, batch_size, caplog):
    clips = make_clips(4)
    clips[0].rgb[5] = b"\xff\xd8" + bytes(40) + b"\xff\xd9"
    folder = write_set(tmp_path, {"val": [clips]})
    loader = open_small(folder, backend, training=False, on_bad_shard="skip", batch_size=batch_size)
    with caplog.at_level(logging.WARNING, logger="pipelines"):
        for _ in range(2):
            # asked for no more than there are, as by training
            list(zip(range(len(loader)), loader, strict=False))
    assert "up to the end of epoch 0: 1 windows of 0 shards and 1 clips skipped" in caplog.text
    assert "up to the end of epoch 1: 2 windows of 0 shards and 1 clips skipped" in caplog.text
    assert max(loader.skipped.draws_of) <= 3, "DALI's loader reads a batch ahead, and not as many clips as one may have"


def test_what_takes_the_place_depends_on_the_position_alone(broken, backend):
    def rows(epoch, **options):
        found = {}
        for rank in range(options.get("num_shards", 1)):
            loader = open_small(broken, backend, on_bad_shard="skip", shard_id=rank, **options)
            loader.load_state_dict({**loader.state_dict(), "epoch": epoch})
            for number, batch in enumerate(loader):
                positions = [plan.position for plan in loader.sampler.batch(epoch, number)]
                found |= dict(zip(positions, zip(batch["key"], batch["rgb"], strict=True), strict=True))
        return found

    for epoch in (0, 3):
        alone, team = rows(epoch, batch_size=4), rows(epoch, batch_size=2, num_shards=3)
        assert alone.keys() == team.keys() == set(range(12))
        for position, (key, rgb) in alone.items():
            assert team[position][0] == key
            assert torch.equal(team[position][1], rgb)


def test_both_loaders_skip_alike(broken, backend):
    damage(broken, "clip05", "flow")
    found, oracle = (open_small(broken, name, on_bad_shard="skip", check_crc=True) for name in (backend, "torch"))
    assert_same_epochs(found, oracle, epochs=3)
    # all of clip05 is left out, and what cannot be decoded of the others, whose bytes are as written
    assert found.skipped.clips.keys() == oracle.skipped.clips.keys() == {"clip02", "clip05", "clip07"}


def test_resume_skips_as_before(broken, backend):
    loader, resumed = (open_small(broken, backend, on_bad_shard="skip") for _ in range(2))
    iteration = iter(loader)
    next(iteration)
    resumed.load_state_dict(loader.state_dict())
    for found, expected in zip([*resumed, *resumed], [*iteration, *loader], strict=True):
        assert_equal(found, expected)


def test_evaluation_leaves_broken_clips_out(broken, backend):
    options = {"split": "train", "training": False, "windows": 2, "batch_size": 4, "on_bad_shard": "skip"}
    loader = open_small(broken, backend, **options)
    rows = [row for batch in loader for row in zip(batch["key"], batch["view"].tolist(), strict=True)]
    # windows are frames 0 to 7 and 5 to 12
    whole = list(itertools.product([f"clip{n:02d}" for n in range(12)], range(2)))
    lost = {("clip02", 0), ("clip02", 1), ("clip07", 1)}
    assert rows == [row for row in whole if row not in lost]
    assert len(list(loader)) == 6


def test_batch_without_rows_is_not_delivered(broken, backend):
    loader = open_small(broken, backend, split="train", training=False, batch_size=1, on_bad_shard="skip", frames=13)
    for _ in range(2):
        assert [batch["key"] for batch in loader] == [[f"clip{n:02d}"] for n in range(12) if n not in {2, 7}]


def test_broken_clip_raises_and_is_named(broken, backend):
    loader = open_small(broken, backend, split="train", training=False)
    with pytest.raises(
        BadShard, match=r"train-00000-of-00003\.h5: clip clip02: rgb frame 5 .*CRC-32 that it was written"
    ):
        list(loader)


def test_checksum_tells_that_the_file_changed(sound, backend):
    path = sound / shard_name("train", 0, 3)
    jpegs = ShardSet(sound, "train").clip_bytes("rgb", 1).tobytes()
    content = path.read_bytes()
    path.write_bytes(content.replace(jpegs, bytes(len(jpegs))))
    with pytest.raises(
        BadShard, match=r"clip clip01: rgb frame 2 is not a whole JPEG.*CRC-32 .* the file changed since"
    ):
        list(open_small(sound, backend, split="train", training=False))


def test_damage_that_decodes_is_found_by_the_checksum_only(sound, backend):
    damage(sound, "clip06", "rgb")
    options = {"split": "train", "training": False}
    keys = [key for batch in open_small(sound, backend, **options) for key in batch["key"]]
    assert "clip06" in keys
    with pytest.raises(BadShard, match=r"00001-of-00003\.h5: clip clip06: the clip's rgb has CRC-32"):
        list(open_small(sound, backend, check_crc=True, **options))
    # flow alone is sound
    list(open_small(sound, backend, check_crc=True, streams=("flow",), **options))
    skipping = open_small(sound, backend, check_crc=True, on_bad_shard="skip", **options)
    assert [key for batch in skipping for key in batch["key"]] == [key for key in keys if key != "clip06"]
    assert skipping.skipped.draws == 1


def remove(path):
    path.unlink()


def shorten(path):
    path.write_bytes(path.read_bytes()[:-100])


def make_newer(path):
    size = path.stat().st_size
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    assert path.stat().st_size == size


FAULTS = [
    (remove, "train-00001-of-00003.h5 is missing, the index says .* bytes; run `preprocess flow` again"),
    (shorten, r"train-00001-of-00003.h5 has \d+ bytes, the index says"),
    (make_newer, r"train-00001-of-00003.h5 has shard version .*2.*, this reader knows 1; upgrade kineflow"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_unreadable_shard_raises_and_is_named(sound, backend, spoil, message):
    spoil(sound / shard_name("train", 1, 3))
    with pytest.raises(BadShard, match=message):
        open_small(sound, backend)


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_clips_of_an_unreadable_shard_are_skipped(sound, backend, spoil, message):
    whole = list(open_small(sound, "torch"))
    spoil(sound / shard_name("train", 1, 3))
    loader = open_small(sound, backend, on_bad_shard="skip")
    for expected, found in zip(whole, loader, strict=True):
        for row, key in enumerate(expected["key"]):
            if key in {"clip04", "clip05", "clip06", "clip07"}:
                assert found["key"][row] not in {"", "clip04", "clip05", "clip06", "clip07"}
            else:
                assert found["key"][row] == key
                assert torch.equal(found["rgb"][row], expected["rgb"][row])
    ((name, reason),) = loader.skipped.shards.items()
    assert name.endswith("train-00001-of-00003.h5")
    assert reason.startswith(name)
    assert loader.skipped.draws >= 4
    testing = open_small(sound, backend, split="train", training=False, on_bad_shard="skip")
    assert len([key for batch in testing for key in batch["key"]]) == 8


def test_shard_that_disappears_later_is_skipped(sound, backend):
    loader = open_small(sound, backend, on_bad_shard="skip")
    (sound / shard_name("train", 2, 3)).unlink()
    keys = {key for _ in range(2) for batch in loader for key in batch["key"]}
    assert keys == {f"clip{n:02d}" for n in range(8)}
    assert list(loader.skipped.shards) == [str(sound / shard_name("train", 2, 3))]


def test_shard_that_disappears_later_raises_in_its_turn(sound, backend):
    loader = open_small(sound, backend, split="train", training=False)
    (sound / shard_name("train", 2, 3)).unlink()
    for _ in range(2):
        keys = []
        with pytest.raises(BadShard, match=r"train-00002-of-00003\.h5 is missing"):  # noqa: PT012
            for batch in loader:
                keys += batch["key"]
        assert keys == [f"clip{n:02d}" for n in range(8)]


def test_frame_of_another_size_raises_and_is_named(tmp_path, backend):
    clips = make_clips(4)
    clips[1].flow[4] = clips[1].rgb[4]
    folder = write_set(tmp_path, {"val": [clips]})
    with pytest.raises(BadShard, match="clip clip01: flow frame 4 has 48x64 pixels, expected 96x64"):
        list(open_small(folder, backend, training=False))


def test_nothing_left_to_read_fails(sound, backend):
    for number in range(3):
        remove(sound / shard_name("train", number, 3))
    with pytest.raises(BadShard, match=r"none of 3 shards can be read; the first: .*00000-of-00003\.h5 is missing"):
        open_small(sound, backend, on_bad_shard="skip")


def test_no_clip_that_decodes_fails(tmp_path, backend):
    clips = make_clips(4)
    for clip in clips:
        clip.rgb[:] = [b"\xff\xd8" + bytes(40) + b"\xff\xd9"] * len(clip.rgb)
    folder = write_set(tmp_path, {"train": [clips], "val": [clips]})
    with pytest.raises(BadShard, match=r"100 clips in a row cannot be read; .*is not a JPEG"):
        list(open_small(folder, backend, on_bad_shard="skip"))
    evaluation = open_small(folder, backend, on_bad_shard="skip", training=False)
    assert list(evaluation) == []
    assert evaluation.skipped.draws == 4


def test_list_needs_all_shards(sound, backend, tmp_path):
    (tmp_path / "list.csv").write_text("key,label,split\nclip00,archery,train\n")
    remove(sound / shard_name("train", 1, 3))
    with pytest.raises(BadShard, match="is missing"):
        open_small(sound, backend, on_bad_shard="skip", clips=tmp_path / "list.csv")


def test_balance_needs_all_shards(sound, backend):
    remove(sound / shard_name("train", 1, 3))
    with pytest.raises(BadShard, match="is missing"):
        open_small(sound, backend, on_bad_shard="skip", balanced=True)


def test_zero_clips_fail(tmp_path, backend):
    folder = write_set(tmp_path, {"train": [[]]})
    with pytest.raises(InvalidInput, match="no clips in split 'train'; it has none at all; run `preprocess flow`"):
        open_small(folder, backend)


def test_newer_index_fails(sound, backend):
    text = (sound / "index.json").read_text()
    (sound / "index.json").write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(BadShard, match=r"index\.json has version 2, this reader knows 1; upgrade kineflow"):
        open_small(sound, backend)


def test_window_longer_than_a_clip_fails_if_asked(sound, backend):
    with pytest.raises(InvalidInput, match="a window of 16 frames is longer than 12 of 12 clips, the shortest clip00"):
        open_small(sound, backend, frames=16, short_clips="error")


def test_unknown_policy_fails(sound, backend):
    with pytest.raises(InvalidInput, match="on_bad_shard is 'ignore'; use one of raise, skip"):
        open_small(sound, backend, on_bad_shard="ignore")
