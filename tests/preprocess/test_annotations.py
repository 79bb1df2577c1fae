import pytest

from preprocess.annotations import read_kinetics, select
from preprocess.errors import InvalidInput

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
ROW = "yoga,abcdefghijk,3,13,train,0\n"


def read(tmp_path, text, *, name="list.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return read_kinetics(path)


def test_reads_a_row(tmp_path):
    (clip,) = read(tmp_path, HEADER + ROW).clips
    assert (clip.key, clip.label, clip.split, clip.line) == ("abcdefghijk_000003_000013", "yoga", "train", 2)


@pytest.mark.parametrize("spelling", ["val", "validate", "validation", "Val"])
def test_every_spelling_of_val(tmp_path, spelling):
    (clip,) = read(tmp_path, HEADER + ROW.replace("train", spelling)).clips
    assert clip.split == "val"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + ROW,
        (HEADER + ROW).replace("\n", "\r\n"),
        HEADER + "\n" + ROW,
        "video-id,start-time,end-time,label-name,split\nabcdefghijk,3,13,yoga,train\n",
        "split,time_end,time_start,youtube_id,label\ntrain,13.0,3,abcdefghijk,yoga\n",
    ],
)
def test_other_spellings_of_a_list(tmp_path, text):
    listed = read(tmp_path, text)
    assert [clip.key for clip in listed.clips] == ["abcdefghijk_000003_000013"]
    assert not listed.refused


def test_test_list_has_no_labels(tmp_path):
    (clip,) = read(tmp_path, "youtube_id,time_start,time_end,split\nabcdefghijk,3,13,test\n").clips
    assert (clip.label, clip.split) == (None, "test")


def test_split_from_the_file_name(tmp_path):
    text = "label,youtube_id,time_start,time_end\nyoga,abcdefghijk,3,13\n"
    assert read(tmp_path, text, name="kinetics_val.csv").clips[0].split == "val"
    with pytest.raises(InvalidInput, match="no column 'split'"):
        read(tmp_path, text, name="mine.csv")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("yoga,abcdefghij,3,13,train,0", "'abcdefghij' is not 11 characters"),
        ("yoga,../../etc/x,3,13,train,0", "not 11 characters"),
        ("yoga,abcdefghij\u00e9,3,13,train,0", "not 11 characters"),
        ("yoga,https://x/y,3,13,train,0", "not 11 characters"),
        ("yoga,abcdefghijk,,13,train,0", "time_start '' is not"),
        ("yoga,abcdefghijk,nan,13,train,0", "time_start 'nan' is not"),
        ("yoga,abcdefghijk,-1,13,train,0", "time_start '-1' is not"),
        ("yoga,abcdefghijk,3,1e309,train,0", "time_end '1e309' is not"),
        ("yoga,abcdefghijk,0.5,13,train,0", "'0.5' is not a whole number"),
        ("yoga,abcdefghijk,13,3,train,0", "time_end 3 is not after time_start 13"),
        ("yoga,abcdefghijk,3,13,dev,0", "split 'dev' is not one of"),
        (" ,abcdefghijk,3,13,train,0", "label ' *' is empty"),
        ("a\x00b,abcdefghijk,3,13,train,0", "not printable"),
        ("yoga,abcdefghijk", "2 fields, expected 5 or more"),
    ],
)
def test_refused_row_keeps_line_and_reason(tmp_path, row, reason):
    listed = read(tmp_path, HEADER + ROW.replace("k,", "K,") + row + "\n")
    assert len(listed.clips) == 1
    (refused,) = listed.refused
    assert refused.line == 3
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refused.reason)


def test_duplicate_is_refused_naming_the_first(tmp_path):
    listed = read(tmp_path, HEADER + ROW + ROW.replace("train", "val"))
    assert listed.refused[0].reason == "clip abcdefghijk_000003_000013 already stands in line 2"


def test_latin1_label_costs_its_row_only(tmp_path):
    listed = read(tmp_path, (HEADER + ROW).encode() + b"caf\xe9,abcdefghijK,3,13,train,0\n")
    assert (len(listed.clips), len(listed.refused)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column"),
        ("label;youtube_id;time_start;time_end;split\n", "delimiter must be a comma"),
        ("label,time_start,time_end,split\n", "lacks the column youtube_id"),
    ],
)
def test_read_fails(tmp_path, text, message):
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, text)


def test_missing_list_fails(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        read_kinetics(tmp_path / "none.csv")


@pytest.fixture
def clips(tmp_path):
    rows = [
        f"{'yoga' if i % 2 else 'surfing'},abcdefghi{i:02d},0,10,{'train' if i < 15 else 'val'},0\n" for i in range(20)
    ]
    return read(tmp_path, HEADER + "".join(rows)).clips


def test_select_by_split_and_class(clips):
    chosen = select(clips, splits=["validate"], classes=["yoga"])
    assert {(clip.split, clip.label) for clip in chosen} == {("val", "yoga")}


def test_select_limit_is_drawn_with_the_seed_in_list_order(clips):
    first = select(clips, limit=5, seed=1)
    assert first == select(clips, limit=5, seed=1)
    assert first != select(clips, limit=5, seed=2)
    assert [clip.line for clip in first] == sorted(clip.line for clip in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ["dev"]}, "split 'dev' is unknown"),
        ({"classes": ["Yoga"]}, "no clip has the class 'Yoga'"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
    ],
)
def test_select_fails(clips, options, message):
    with pytest.raises(InvalidInput, match=message):
        select(clips, **options)


@pytest.mark.parametrize(
    ("name", "rows", "split", "labelled"),
    [
        ("activitynet/kinetics-400_val.csv", 19906, "val", True),
        ("activitynet/kinetics-400_test.csv", 38685, "test", False),
        ("activitynet/kinetics-600_val.csv", 30000, "val", True),
        ("deepmind_k400_validate.csv", 18035, "val", True),
    ],
)
def test_published_lists(shared_data, name, rows, split, labelled):
    listed = read_kinetics(shared_data / "lists" / name)
    assert len(listed.clips) + len(listed.refused) == rows
    assert {clip.split for clip in listed.clips} == {split}
    assert all((clip.label is not None) == labelled for clip in listed.clips)
    assert len(listed.refused) < rows / 1000
