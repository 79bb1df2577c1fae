import hashlib
import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import pytest

from preprocess.config import FlowConfig
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.extract import MAX_SECONDS
from preprocess.plan import difference, make_plan, planned_bytes, read_plan
from tests.preprocess.conftest import clip_file

ROOT = Path("/clips")


def clips(count, *, split="train", **fields):
    return [clip_file(ROOT / f"{split}{i:03d}.mp4", folder=ROOT, split=split, **fields) for i in range(count)]


def plan(items, config=FlowConfig(), **options):
    return make_plan(items, config=config, backend="opencv", **options)


def test_at_most_so_many_clips_a_shard():
    planned = plan(clips(130) + clips(3, split="val"))
    assert [(shard.name, len(shard.clips)) for shard in planned.shards] == [
        ("train-00000-of-00003.h5", 64),
        ("train-00001-of-00003.h5", 64),
        ("train-00002-of-00003.h5", 2),
        ("val-00000-of-00001.h5", 3),
    ]


def test_at_most_so_many_bytes_a_shard():
    ten_seconds = clips(64, duration_s=10.0, height=256, width=340)
    planned = plan(ten_seconds)
    assert len(planned.shards) == 2  # 64 such clips take more than 512 MiB
    assert all(shard.planned_bytes <= 512 << 20 for shard in planned.shards)


@pytest.mark.parametrize("count", [0, 1, 1000, 2001])
def test_fingerprint_is_that_of_the_whole_json(count):
    items = clips(count, label="caf\u00e9")
    planned = plan(items)
    whole = json.dumps([planned.settings, planned.labels, [asdict(clip) for clip in items]], sort_keys=True)
    assert planned.fingerprint == hashlib.sha256(whole.encode()).hexdigest()


def test_planned_bytes_of_a_shard_are_those_of_its_clips():
    planned = plan(clips(130, duration_s=3.0))
    assert [s.planned_bytes for s in planned.shards] == [
        sum(planned_bytes(clip, FlowConfig()) for clip in s.clips) for s in planned.shards
    ]


def test_labels_of_folders_find_those_of_a_table():
    items = clips(1, label="passing American football in game") + clips(1, split="val", label="Yoga")
    planned = plan(items, labels=["yoga", "passing American football (in game)"])
    assert [shard.labels for shard in planned.shards] == [(1,), (0,)]


def test_clip_larger_than_a_shard_gets_its_own():
    config = FlowConfig(bytes_per_shard=1 << 20)
    assert [len(shard.clips) for shard in plan(clips(3, duration_s=100.0), config).shards] == [1, 1, 1]


def test_planned_bytes_are_above_what_a_clip_takes():
    # 250 frames of 340x256 at quality 95 took 5.4 to 12 MB with their flow
    (clip,) = clips(1, duration_s=10.0, height=256, width=340)
    assert 10e6 < planned_bytes(clip, FlowConfig()) < 15e6


def test_length_that_a_header_claims_does_not_fill_the_disk():
    day, longest = (clips(1, duration_s=s, height=256, width=340)[0] for s in (86_400.0, float(MAX_SECONDS)))
    assert planned_bytes(day, FlowConfig()) == planned_bytes(longest, FlowConfig())


def test_labels_are_sorted_and_shared_by_all_splits():
    items = clips(1, label="yoga") + clips(1, split="val", label="abseiling") + clips(1, split="test", label=None)
    planned = plan(items)
    assert planned.labels == ("abseiling", "yoga")
    assert [shard.labels for shard in planned.shards] == [(1,), (0,), (-1,)]


def test_given_labels_keep_their_order():
    assert plan(clips(1), labels=["yoga", "abseiling"]).shards[0].labels == (0,)
    with pytest.raises(InvalidInput, match="1 labels of the clips are not in the given list, such as 'yoga'"):
        plan(clips(1), labels=["abseiling"])
    with pytest.raises(InvalidInput, match="5000 label names take 103890 bytes, 60000 is what a shard holds"):
        plan(clips(1), labels=[f"label number {i}" for i in range(5000)])


@pytest.mark.parametrize("change", [{"short_side": 64}, {"rgb_quality": 90}, {"clips_per_shard": 3}])
def test_fingerprint_changes_with_the_configuration(change):
    assert plan(clips(2)).fingerprint == plan(clips(2)).fingerprint
    assert plan(clips(2)).fingerprint != plan(clips(2), FlowConfig(**change)).fingerprint


def test_fingerprint_changes_with_a_clip():
    one = clips(1)
    assert plan(one).fingerprint != plan([replace(one[0], fingerprint="another file")]).fingerprint


def test_plan_round_trip_and_difference(tmp_path):
    old = plan(clips(2))
    old.write(tmp_path)
    found = read_plan(tmp_path)
    assert found is not None
    assert found["fingerprint"] == old.fingerprint
    assert difference(found, plan(clips(2), FlowConfig(short_side=64))) == "short_side was 256, is 64"
    assert difference(found, plan(clips(3))) == "the clips or the labels are others"


def test_no_plan_is_none_and_one_that_cannot_be_read_fails(tmp_path):
    assert read_plan(tmp_path) is None
    (tmp_path / "plan.json").symlink_to("/proc/self/mem")  # whose first byte is nowhere
    with pytest.raises(EnvironmentProblem, match=r"plan\.json cannot be read: Input/output error"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        '{"fingerprint": "", "settings": {}}',
        '{"fingerprint": "", "settings": [], "shards": []}',
        '{"fingerprint": "", "settings": {}, "shards": ["train-00000-of-00001.h5", "notes.txt"]}',
        '{"fingerprint": "", "settings": {}, "shards": [1]}',
    ],
)
def test_damaged_plan_fails(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(InvalidInput, match="is damaged"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("fps", Fraction(1, 2000), "fps must be 0.001 to 240, got 1/2000"),
        ("fps", Fraction("29." + 16 * "970"), "fps must be of fewer digits, such as 30000/1001"),
        ("short_side", 8, "short_side must be 16 to 2304 pixels, got 8"),
        ("rgb_quality", 101, "rgb_quality must be 1 to 100, got 101"),
        ("clips_per_shard", 0, "clips_per_shard must be at least 1, got 0"),
        ("bytes_per_shard", 5, "bytes_per_shard must be at least 1 MiB"),
    ],
)
def test_config_fails(field, value, message):
    with pytest.raises(InvalidInput, match=message):
        FlowConfig(**{field: value})
