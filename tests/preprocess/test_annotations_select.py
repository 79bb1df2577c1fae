"""Tests of preprocess.annotations.select."""

from dataclasses import replace

import pytest

from preprocess.annotations import read_kinetics, select
from preprocess.errors import InvalidInput

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def clips(tmp_path):
    rows = [
        f"{'yoga' if i % 2 else 'surfing'},abcdefghi{i:02d},0,10,{'train' if i < 15 else 'val'}\n" for i in range(20)
    ]
    (tmp_path / "list.csv").write_text(HEADER + "".join(rows))
    return read_kinetics(tmp_path / "list.csv").clips


def test_select_by_split_and_class(clips):
    assert {(one.split, one.label) for one in select(clips, splits=["validate"], classes=["yoga"])} == {("val", "yoga")}


def test_select_forgives_the_spelling_of_a_class(clips):
    assert select([*clips, replace(clips[0], label=None)], classes=["YOGA_"]) == select(clips, classes=["yoga"])


def test_select_limit_is_drawn_with_the_seed_in_list_order(clips):
    first = select(clips, limit=5, seed=1)
    assert first == select(clips, limit=5, seed=1) != select(clips, limit=5, seed=2)
    assert [clip.line for clip in first] == sorted(clip.line for clip in first)
    assert [len(select(clips, limit=limit)) for limit in (1, 20, 21)] == [1, 20, 20]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ["dev"]}, "split 'dev' is unknown"),
        ({"classes": ["yogurt"]}, r"no clip has the class 'yogurt' \(nearest: 'yoga'\)"),
        ({"splits": ["train"], "classes": ["golf", "yoga"]}, "no clip has the class 'golf'$"),
        ({"splits": ["test"]}, "no clip is in the split test; the lists have train, val"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
    ],
)
def test_select_fails(clips, options, message):
    with pytest.raises(InvalidInput, match=message):
        select(clips, **options)
