"""Tests of preprocess.wanted."""

import hashlib
import json

import pytest

from preprocess.annotations import ClipList, read_kinetics, read_lists
from preprocess.errors import InvalidInput
from preprocess.wanted import LIST_INFO_NAME, LIST_NAME, Wanted, hash_keys, wanted_of

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def listed(tmp_path):
    """Clips with odd labels, clips without, and refused rows, out of order."""
    (tmp_path / "val.csv").write_bytes(
        HEADER.encode()
        + b'"throwing, not ""catching""",bbbbbbbbbbb,0,10,val\n'
        + "caf\u00e9 \u56de\u8ee2,-aaaaaaaaaa,0,10,val\n".encode()
        + b"'=1+1,ccccccccccc,0,10,val\n"
        + b"caf\xe9,ddddddddddd,0,10,val\n"
        + b'"unclosed,eeeeeeeeeee,0,10,val\n'
    )
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nzzzzzzzzzzz,5,15,test\n")
    return read_lists([tmp_path / "val.csv", tmp_path / "test.csv"])


def values(clips):
    return [(clip.key, clip.label, clip.split) for clip in clips]


def test_round_trip(listed, tmp_path):
    written = wanted_of(listed, listed.clips)
    written.write(tmp_path / "clips")
    found = Wanted.read(tmp_path / "clips")
    assert values(found.clips) == values(written.clips)
    assert (found.refused, found.sources, found.dataset) == (written.refused, written.sources, None)
    assert found.keys_sha256 == written.keys_sha256
    assert values(found.clips)[0] == ("-aaaaaaaaaa_000000_000010", "caf\u00e9 \u56de\u8ee2", "val")
    assert values(found.clips)[-1] == ("zzzzzzzzzzz_000005_000015", None, "test")
    assert found.refused[0].row[0] == "caf\udce9"


def test_where_a_clip_stands_is_then_list_csv(listed, tmp_path):
    wanted_of(listed, listed.clips).write(tmp_path)
    clips = Wanted.read(tmp_path).clips
    assert [(clip.list_name, clip.line) for clip in clips] == [(LIST_NAME, line) for line in (2, 3, 4, 5)]


def test_data_set_is_kept(tmp_path):
    (tmp_path / "val.csv").write_text(HEADER + "YOGA,aaaaaaaaaaa,0,10,val\n")
    listed = read_lists([tmp_path / "val.csv"])
    wanted_of(listed, listed.clips).write(tmp_path)
    assert Wanted.read(tmp_path).dataset == "kinetics400"
    assert Wanted.read(tmp_path).clips[0].label == "yoga"


def test_equal_clips_give_equal_lists_in_whatever_order(listed, tmp_path):
    wanted_of(listed, listed.clips).write(tmp_path / "a")
    wanted_of(listed, reversed(listed.clips)).write(tmp_path / "b")
    assert (tmp_path / "a" / LIST_NAME).read_bytes() == (tmp_path / "b" / LIST_NAME).read_bytes()


def test_nothing_wanted_can_be_written_and_read(tmp_path):
    wanted_of(ClipList(clips=(), refused=()), ()).write(tmp_path)
    assert Wanted.read(tmp_path).clips == ()


def test_long_list_is_written_whole(tmp_path):
    rows = [f"{i:011d},{i},{i + 10},train\n" for i in range(10_001)]  # one more than is made into bytes at once
    (tmp_path / "train.csv").write_text("youtube_id,time_start,time_end,split\n" + "".join(rows))
    listed = read_kinetics(tmp_path / "train.csv")
    wanted_of(listed, listed.clips).write(tmp_path / "clips")
    assert values(Wanted.read(tmp_path / "clips").clips) == values(listed.clips)


def test_folder_made_by_hand_has_none(tmp_path):
    assert Wanted.read(tmp_path) is None


def test_hash_of_keys_does_not_depend_on_their_order():
    many = [f"{i:06d}" for i in range(25_000)]
    assert hash_keys(reversed(many)) == hashlib.sha256("".join(f"{key}\n" for key in many).encode()).hexdigest()
    assert hash_keys(["b", "a"]) == hash_keys(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()


def test_list_of_another_run_fails(listed, tmp_path):
    wanted_of(listed, listed.clips).write(tmp_path)
    path = tmp_path / LIST_NAME
    path.write_text(path.read_text().replace(",val\n", ",train\n"))
    with pytest.raises(InvalidInput, match=r"list\.csv is not the list that .*list\.json was written with; run"):
        Wanted.read(tmp_path)


def test_list_that_is_gone_fails(listed, tmp_path):
    wanted_of(listed, listed.clips).write(tmp_path)
    (tmp_path / LIST_NAME).unlink()
    with pytest.raises(InvalidInput, match=r"list .*list\.csv does not exist"):
        Wanted.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no list's description"),
        (json.dumps({"format": "kineflow-list", "version": 2}), "has version 2, this reader knows 1"),
        (json.dumps({"format": "kineflow-list", "version": 1, "lists": [{}]}), "lacks dataset"),
    ],
)
def test_damaged_information_fails(tmp_path, content, message):
    (tmp_path / LIST_INFO_NAME).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        Wanted.read(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lists", [{"name": "val.csv", "sha256": "0", "rows": "5"}], r"lists\[0\]\.rows should be int, it is '5'"),
        ("refused", [{"line": 1, "reason": 7, "row": ["x"], "list_name": ""}], r"refused\[0\]\.reason should be str"),
        ("dataset", ["kinetics400"], "dataset should be str"),
    ],
)
def test_information_of_other_kinds_fails(listed, tmp_path, field, value, message):
    wanted_of(listed, listed.clips).write(tmp_path)
    path = tmp_path / LIST_INFO_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(InvalidInput, match=message):
        Wanted.read(tmp_path)
