"""Tests of preprocess.annotations and, through it, of preprocess.kinetics_csv."""

import gzip
import hashlib
import logging
import tracemalloc
from pathlib import Path

import pytest

from preprocess.annotations import read_kinetics, read_lists, require_clean
from preprocess.errors import InvalidInput
from preprocess.labels import label_table

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
ROW = "yoga,abcdefghijk,3,13,train,0\n"


def read(tmp_path, text, *, name="list.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return read_kinetics(path)


def test_reads_a_row(tmp_path):
    (clip,) = read(tmp_path, HEADER + ROW).clips
    assert (clip.key, clip.label, clip.split, clip.line) == ("abcdefghijk_000003_000013", "yoga", "train", 2)


@pytest.mark.parametrize("spelling", ["val", "valid", "validate", "validation", "Val"])
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
        (HEADER + ROW).replace("\n", "\r"),
        HEADER + ROW.replace("yoga", '"yoga"'),
        HEADER + "yoga,abcdefghijk,3,13,train\n",
        HEADER + ROW.replace("\n", ",,\n"),
        HEADER + " \t \n" + ROW.replace("3,13,train", " 3 ,13.000, Train "),
        HEADER + ROW.rstrip("\n"),
        '"Label","YouTube_ID","time_start","time_end","split"\nyoga,abcdefghijk,000003,000013,train\n',
        "note,label,youtube_id,time_start,time_end,split\n\0,yoga,abcdefghijk,3,13,train\n",
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
    for name in ("kinetics_val.csv", "k700validate2020.csv", "Val.csv", "vallist01.csv"):
        assert read(tmp_path, text, name=name).clips[0].split == "val"
    for name in ("mine.csv", "train_and_val.csv", "latest.csv", "retrained.csv", "interval-2.csv", "contest.csv"):
        with pytest.raises(InvalidInput, match="no column 'split'"):
            read(tmp_path, text, name=name)


BAD_ROWS = {
    "id of 10": ("yoga,abcdefghij,3,13,train,0", "'abcdefghij' is not 11 characters"),
    "id of 12": ("yoga,abcdefghijkl,3,13,train,0", "'abcdefghijkl' is not 11 characters"),
    "id with a blank": ("yoga, abcdefghijk,3,13,train,0", "not 11 characters"),
    "path": ("yoga,../../etc/x,3,13,train,0", "not 11 characters"),
    "path of 11": ("yoga,../../etc/p,3,13,train,0", "not 11 characters"),
    "id not ASCII": ("yoga,abcdefghij\u00e9,3,13,train,0", "not 11 characters"),
    "address": ("yoga,https://x/y,3,13,train,0", "not 11 characters"),
    "id with NUL": ("yoga,abcdefghij\0,3,13,train,0", "not 11 characters"),
    "no start": ("yoga,abcdefghijk,,13,train,0", "time_start '' is not"),
    "nan": ("yoga,abcdefghijk,nan,13,train,0", "time_start 'nan' is not"),
    "inf": ("yoga,abcdefghijk,3,inf,train,0", "time_end 'inf' is not"),
    "negative": ("yoga,abcdefghijk,-1,13,train,0", "time_start '-1' is not"),
    "minus zero": ("yoga,abcdefghijk,-0,13,train,0", "time_start '-0' is not"),
    "1e30": ("yoga,abcdefghijk,3,1e30,train,0", "time_end '1e30' is not"),
    "beyond six digits": ("yoga,abcdefghijk,3,1000000,train,0", "time_end '1000000' is not a .* from 0 to 999999"),
    "fraction": ("yoga,abcdefghijk,0.5,13,train,0", "'0.5' is not a whole number"),
    "other digits": ("yoga,abcdefghijk,\u0663,13,train,0", "is not a whole number"),
    "underscore": ("yoga,abcdefghijk,3,1_3,train,0", "time_end '1_3' is not"),
    "NUL in a time": ("yoga,abcdefghijk,3,13\0,train,0", "is not a whole number"),
    "reversed": ("yoga,abcdefghijk,13,3,train,0", "time_end 3 is not after time_start 13"),
    "no seconds": ("yoga,abcdefghijk,3,3,train,0", "time_end 3 is not after time_start 3"),
    "split": ("yoga,abcdefghijk,3,13,dev,0", "split 'dev' is not one of"),
    "no label": (" ,abcdefghijk,3,13,train,0", "label ' *' is empty$"),
    "empty label": (",abcdefghijk,3,13,train,0", "label '' is empty$"),
    "NUL in a label": ("a\0b,abcdefghijk,3,13,train,0", "not printable"),
    "long label, not printable": ("y" * 199 + "\0,abcdefghijk,3,13,train,0", "not printable"),
    "long label": ("y" * 201 + ",abcdefghijk,3,13,train,0", "longer than 200 characters"),
    "giant field": ("y" * 200_000 + ",abcdefghijk,3,13,train,0", "200025 characters long, at most 100000"),
    "giant field in quotes": ('"' + "y" * 200_000 + '",abcdefghijk,3,13,train,0', "at most 100000"),
    "columns missing": ("yoga,abcdefghijk", "2 fields, expected 5 or more"),
    "other delimiter": ("yoga;abcdefghijk;3;13;train;0", "1 fields, expected 5 or more"),
    "column too many": ("yoga,abcdefghijk,3,13,train,0,1", "7 fields, the header has 6"),
    "comma in a label": ("throwing, not catching,abcdefghijk,3,13,train,0", "7 fields, the header has 6"),
    "text after a quote": ('"yoga"x,abcdefghijk,3,13,train,0', "quotes that do not match"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_refused_row_keeps_line_and_reason(tmp_path, row, reason):
    listed = read(tmp_path, HEADER + ROW.replace("k,", "K,") + row + "\n" + ROW.replace("k,", "L,"))
    assert [clip.line for clip in listed.clips] == [2, 4]
    (refused,) = listed.refused
    assert (refused.line, refused.list_name) == (3, "list.csv")
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refused.reason)
    assert sum(map(len, refused.row)) <= 1000
    assert len(refused.reason) <= 150


def test_the_longest_of_each_is_a_clip(tmp_path):
    (clip,) = read(tmp_path, HEADER + f"{'y' * 200},abcdefghijk,0.{'0' * 30},999999,train,0\n").clips
    assert (clip.label, clip.key) == ("y" * 200, "abcdefghijk_000000_999999")


@pytest.mark.parametrize("youtube_id", ["-abcdefghij", "--help_-out", "___________", "00000000000"])
def test_odd_ids_are_ids(tmp_path, youtube_id):
    (clip,) = read(tmp_path, HEADER + ROW.replace("abcdefghijk", youtube_id)).clips
    assert clip.key == f"{youtube_id}_000003_000013"


@pytest.mark.parametrize("column", ["label", "is_cc"])
def test_unclosed_quote_costs_its_line_only(tmp_path, column):
    broken = ROW.replace("yoga", '"yoga') if column == "label" else ROW.replace("train,0", 'train,"0')
    rows = [ROW.replace("abcdefghijk", f"abcdefgh{number:03d}") for number in range(500)]
    listed = read(tmp_path, HEADER + "".join([*rows[:200], broken, *rows[200:]]))
    assert len(listed.clips) == 500
    (refused,) = listed.refused
    assert (refused.line, refused.row) == (202, (broken.rstrip("\n"),))
    assert "quotes that do not match within the line (unexpected end of data)" in refused.reason


def test_duplicate_is_refused_naming_the_first(tmp_path):
    listed = read(tmp_path, HEADER + ROW + ROW + ROW.replace("train", "val").replace("yoga", "golf"))
    reason = "clip abcdefghijk_000003_000013 already stands in line 2"
    assert [row.reason for row in listed.refused] == [
        reason,
        f"{reason}: split 'train' there and 'val' here, label 'yoga' there and 'golf' here",
    ]


def test_one_video_may_give_several_clips(tmp_path):
    listed = read(tmp_path, HEADER + ROW + ROW.replace("3,13", "13,23"))
    assert [clip.key for clip in listed.clips] == ["abcdefghijk_000003_000013", "abcdefghijk_000013_000023"]


def test_latin1_label_costs_its_row_only(tmp_path):
    listed = read(tmp_path, (HEADER + ROW).encode() + b"caf\xe9,abcdefghijK,3,13,train,0\n")
    assert [row.reason for row in listed.refused] == [r"label 'caf\udce9' is not printable UTF-8 text"]


def test_source_is_the_file_as_given(tmp_path):
    text = HEADER + ROW + "x\n\n"
    (source,) = read(tmp_path, text).sources
    assert (source.name, source.sha256, source.rows) == ("list.csv", hashlib.sha256(text.encode()).hexdigest(), 2)


BAD_LISTS = {
    "empty": (b"", r"list\.csv is empty; expected the line label,youtube_id"),
    "blank": (b"\n\n", "lacks the column youtube_id, time_start, time_end"),
    "other delimiter": (b"label;youtube_id;time_start;time_end;split\n", "delimiter must be a comma"),
    "tabs": (b"label\tyoutube_id\ttime_start\n", "delimiter must be a comma"),
    "no header": (b"testifying,---QuUC4vJs,84,94,validate\n", "first line is 'testifying,---QuUC4vJs,84,94,validate'"),
    "no id": (b"label,time_start,time_end,split\n", r"lacks the column youtube_id; .*split'$"),
    "many other columns": (b"x," * 9999 + b"\n", "lacks the column"),
    "one other column": (b"youtube\n", r"first line is 'youtube'$"),
    "semicolon in a name": (b"label;name,time_start,time_end,split\n", r"first line is '[^']*split'$"),
    "column twice": (b"youtube_id,time_start,time_end,video-id\n", "has the column youtube_id twice"),
    "unclosed quote": (b'"label,youtube_id,time_start,time_end,split\n', "first line: quotes that do not match"),
    "gzip": (gzip.compress(HEADER.encode()), "packed with gzip; unpack it first"),
    "zip": (b"PK\x03\x04...", "packed with zip"),
    "UTF-16": ((HEADER + ROW).encode("utf-16"), "not UTF-8 text but UTF-16 or binary"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0", "lacks the column"),
    "one endless line": (b"\xff" * 300_000, "first line: 100001 characters long"),
}


@pytest.mark.parametrize(("content", "message"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_read_fails(tmp_path, content, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        read(tmp_path, content)
    assert len(str(caught.value)) <= 400 + len(str(tmp_path))


def test_header_only_is_a_list_without_clips(tmp_path):
    listed = read(tmp_path, HEADER)
    assert (listed.clips, listed.refused) == ((), ())


def test_folder_fails(tmp_path):
    with pytest.raises(InvalidInput, match="is not a file"):
        read_kinetics(tmp_path)


def test_missing_list_fails(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="does not exist"):
        read_kinetics(tmp_path / "none.csv")
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # it was there a moment ago
    with pytest.raises(InvalidInput, match=r"none\.csv cannot be read: No such file or directory"):
        read_kinetics(tmp_path / "none.csv")


@pytest.fixture
def write(tmp_path):
    """Writes a list of (label, id, split) rows under a name."""

    def call(name, *rows):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        lines = [f'"{label}",{youtube_id},0,10,{split}\n' for label, youtube_id, split in rows]
        path.write_text("label,youtube_id,time_start,time_end,split\n" + "".join(lines))
        return path

    return call


def test_several_lists_are_one(write):
    listed = read_lists(
        [
            write("train.csv", ("yoga", "a" * 11, "train")),
            write("val.csv", ("zumba", "b" * 11, "val"), ("x", "c", "val"), ("", "d" * 11, "val")),
        ]
    )
    assert [(clip.list_name, clip.line, clip.split) for clip in listed.clips] == [
        ("train.csv", 2, "train"),
        ("val.csv", 2, "val"),
    ]
    assert [(row.list_name, row.line) for row in listed.refused] == [("val.csv", 3), ("val.csv", 4)]
    assert [(source.name, source.rows) for source in listed.sources] == [("train.csv", 1), ("val.csv", 3)]


def test_clip_in_train_and_val_is_taken_from_the_first_list(write):
    lists = [write("train.csv", ("yoga", "a" * 11, "train")), write("val.csv", ("yoga", "a" * 11, "val"))]
    listed = read_lists(lists)
    assert [clip.split for clip in listed.clips] == ["train"]
    (refused,) = listed.refused
    assert refused.list_name == "val.csv"
    assert refused.reason == (
        "clip aaaaaaaaaaa_000000_000010 already stands in train.csv, line 2: split 'train' there and 'val' here"
    )
    assert [clip.split for clip in read_lists(lists[::-1]).clips] == ["val"]


def test_lists_of_one_name_are_told_apart(write, tmp_path):
    paths = [write("400/val.csv", ("yoga", "a" * 11, "val")), write("600/val.csv", ("yoga", "b" * 11, "val"))]
    assert [clip.list_name for clip in read_lists(paths).clips] == [str(path) for path in paths]


def test_lists_without_a_row_fail(write):
    some, none = write("some.csv", ("yoga", "a" * 11, "train")), write("none.csv")
    assert len(read_lists([none, some]).clips) == 1
    with pytest.raises(InvalidInput, match=r"no rows in .*none\.csv, only the line of column names"):
        read_lists([none])


def test_list_given_twice_fails(write):
    path = write("val.csv", ("yoga", "a" * 11, "val"))
    with pytest.raises(InvalidInput, match="a list is given twice"):
        read_lists([path, path.parent / "." / path.name])


def test_labels_get_the_spelling_of_their_table(write):
    rows = [("Passing_American football  (NOT in game)", "a" * 11, "val"), ("massaging persons head", "b" * 11, "val")]
    listed = read_lists([write("val.csv", *rows)])
    assert listed.dataset == "kinetics400"
    assert [clip.label for clip in listed.clips] == [
        "passing American football (not in game)",
        "massaging person's head",
    ]


def test_list_of_ones_own_keeps_its_labels(write, caplog):
    listed = read_lists([write("val.csv", ("Yoga", "a" * 11, "val"), ("Frisbee golf", "b" * 11, "val"))])
    assert listed.dataset is None
    assert [clip.label for clip in listed.clips] == ["Yoga", "Frisbee golf"]
    assert read_lists([write("ucf101.csv", ("ApplyEyeMakeup", "a" * 11, "val"))]).dataset is None
    assert not caplog.text


def test_no_table_is_looked_at_when_none_is_wanted(write):
    listed = read_lists([write("val.csv", ("Yoga", "a" * 11, "val"))], dataset=None)
    assert (listed.dataset, listed.clips[0].label) == (None, "Yoga")


def test_named_data_set_refuses_other_labels_with_the_nearest(write):
    rows = [("yogaa", "a" * 11, "val"), ("yoga", "b" * 11, "val"), ("x", "bad id", "val"), ("ZUMBA", "c" * 11, "val")]
    listed = read_lists([write("val.csv", *rows)], dataset="kinetics600")
    assert [(clip.line, clip.label) for clip in listed.clips] == [(3, "yoga"), (5, "zumba")]
    assert [row.line for row in listed.refused] == [2, 4]
    assert listed.refused[0].reason == "label 'yogaa' is no class of kinetics600 (nearest: 'yoga')"
    assert listed.refused[0].row == ("yogaa", "a" * 11, "0", "10", "val")


def test_unlabelled_clips_fit_a_named_data_set(write, tmp_path):
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nabcdefghijk,3,13,test\n")
    listed = read_lists([write("val.csv", ("YOGA", "b" * 11, "val")), tmp_path / "test.csv"], dataset="kinetics600")
    assert [clip.label for clip in listed.clips] == ["yoga", None]


def test_nearly_fitting_list_says_so(write, caplog):
    names = [*label_table("kinetics400")[:9], "Yogga"]
    rows = [(name, f"{place:011d}", "val") for place, name in enumerate(names)]
    with caplog.at_level(logging.WARNING):
        assert read_lists([write("val.csv", *rows)]).dataset is None
    assert "1 of 10 labels are no classes of kinetics400, such as 'Yogga'" in caplog.text


def test_unknown_data_set_fails(write):
    with pytest.raises(InvalidInput, match="'kinetics' has no label table; use one of kinetics400, kinetics600"):
        read_lists([write("val.csv")], dataset="kinetics")


def test_require_clean_names_the_first_refused_rows(write):
    refused = read_lists([write("val.csv", *[("yoga", f"bad{place}", "val") for place in range(5)])]).refused
    with pytest.raises(
        InvalidInput, match=r"5 rows are refused: val\.csv, line 2: youtube_id 'bad0' .*; and so on"
    ) as caught:
        require_clean(refused)
    assert "bad3" not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"line 4: youtube_id 'bad2' [^;]*\. Mend the lists"):
        require_clean(refused[:3])
    require_clean(())


PUBLISHED = [
    ("activitynet/kinetics-400_val.csv", 19906, "val", "kinetics400"),
    ("activitynet/kinetics-400_test.csv", 38685, "test", None),
    ("activitynet/kinetics-600_val.csv", 30000, "val", "kinetics600"),
    ("activitynet/kinetics-600_test.csv", 72924, "test", None),
    ("deepmind_k400_validate.csv", 18035, "val", "kinetics400"),
    ("deepmind_k400_test.csv", 35357, "test", "kinetics400"),
]


@pytest.mark.parametrize(("name", "rows", "split", "dataset"), PUBLISHED)
def test_published_lists(shared_data, name, rows, split, dataset):
    listed = read_lists([shared_data / "lists" / name])
    assert len(listed.clips) + len(listed.refused) == listed.sources[0].rows == rows
    assert {clip.split for clip in listed.clips} == {split}
    assert listed.dataset == dataset
    assert {clip.label is not None for clip in listed.clips} == {dataset is not None}
    assert not listed.refused


def test_ids_that_k600_has_twice_stay_apart(shared_data):
    listed = read_kinetics(shared_data / "lists" / "activitynet" / "kinetics-600_val.csv")
    assert len({clip.key for clip in listed.clips}) - len({clip.youtube_id for clip in listed.clips}) == 6


def test_published_lists_together_name_what_they_share(shared_data):
    paths = [
        shared_data / "lists" / name for name in ("activitynet/kinetics-400_val.csv", "deepmind_k400_validate.csv")
    ]
    listed = read_lists(paths)
    assert len(listed.clips) + len(listed.refused) == 19906 + 18035
    assert all("already stands in kinetics-400_val.csv, line " in row.reason for row in listed.refused)


@pytest.mark.parametrize("name", ["kinetics_600_train.txt", "train.csv"])
def test_rows_of_lists_that_are_not_at_hand(tmp_path, name):
    text = "label,youtube_id,time_start,time_end,split\ntestifying,---QuUC4vJs,84,94,validate\n"
    (clip,) = read(tmp_path, text, name=name).clips
    assert (clip.key, clip.label, clip.split) == ("---QuUC4vJs_000084_000094", "testifying", "val")


def test_clips_take_little_memory(tmp_path):
    rows = "".join(f"label {i % 700},{i:011d},{i % 900},{i % 900 + 10},train\n" for i in range(20_000))
    (tmp_path / "list.csv").write_text("label,youtube_id,time_start,time_end,split\n" + rows)
    tracemalloc.start()
    try:
        listed = read_lists([tmp_path / "list.csv"])
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listed.clips) == 20_000
    assert kept / 20_000 < 300  # bytes a clip; 650,000 of them are then far below 1 GB
    assert peak / 20_000 < 500
