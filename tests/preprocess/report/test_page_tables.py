"""Each number of the page stands under its name."""

from dataclasses import replace

import pytest

from preprocess.report.content import (
    Balance,
    Camera,
    ClassFigures,
    Component,
    Histogram,
    Motion,
    OtherBound,
    Part,
    Spread,
    Stillness,
    Verdict,
)
from preprocess.report.page_tables import (
    bound_table,
    camera_table,
    class_table,
    motion_table,
    part_table,
    size_table,
    still_table,
)

BARS = Histogram(first=0, step=1, counts=(1,))
U = Component(at_bound=0.04, percentiles_px={"50": 0.5, "99.9": 12.345})
V = Component(at_bound=0.05, percentiles_px={"50": 0.25, "99.9": 6.789})
MOTION = Motion(
    clips=1200,
    fields=2300,
    u=U,
    v=V,
    at_bound=0.03,
    speeds=BARS,
    bounds=(
        OtherBound(bound_px=20, clipped=0.03, is_exact=True, step_px=20 / 127),
        OtherBound(bound_px=40, clipped=0.01, is_exact=False, step_px=40 / 127),
    ),
    verdict=Verdict.TOO_LOW,
    verdict_text="",
)
PART = Part(
    clips=1001,
    frames=2002,
    hours=1,
    balance=Balance(
        labels=400,
        empty=5,
        clips=Spread(smallest=1.0, median=2.5, mean=99.96, largest=400.0),
        by_label=BARS,
        unlabelled=6,
    ),
    rgb_bytes=Spread(smallest=10.5, median=100.25, mean=3000.0, largest=40_000.0),
    flow_bytes=Spread(smallest=1.0, median=2.0, mean=3.0, largest=4.0),
    rgb_sizes=BARS,
    flow_sizes=BARS,
    lengths=Spread(smallest=5.0, median=6.0, mean=7.0, largest=8.0),
    length_counts=BARS,
    frame_sizes=(),
    sampled=7,
    motion=MOTION,
    stillness=Stillness(clips=1, fields=2, still=0.03, duplicate=0.04, longest_s=5.678, with_stretch=0.06, wholly=0.07),
    camera=Camera(clips=1, fields=2000, share=0.3, median=0.4, by_clip=BARS),
    classes=(
        ClassFigures(
            label="yoga",
            clips=1,
            sampled=2,
            rgb_bytes=3000.4,
            flow_bytes=400,
            at_bound=0.05,
            p99_px=6.789,
            still=0.07,
            camera=0.08,
        ),
        ClassFigures(
            label=None,
            clips=0,
            sampled=0,
            rgb_bytes=None,
            flow_bytes=None,
            at_bound=None,
            p99_px=None,
            still=None,
            camera=None,
        ),
    ),
)
UNSEEN = replace(PART, motion=None, stillness=None, camera=None, balance=replace(PART.balance, clips=None))
COLUMNS = [("all", PART), ("train", UNSEEN)]
"""Of the second part no clip was decoded, and none has a label."""


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (
            still_table(COLUMNS),
            [
                {
                    "": "all",
                    "clips": "1",
                    "fields": "2",
                    "still": "3 %",
                    "between equal frames": "4 %",
                    "clips still for 1 s": "6 %",
                    "wholly still clips": "7 %",
                    "longest": "5.68 s",
                }
            ],
        ),
        (
            camera_table(COLUMNS),
            [
                {
                    "": "all",
                    "clips that move": "1",
                    "fields that move": "2,000",
                    "of all energy": "30 %",
                    "median clip": "40 %",
                }
            ],
        ),
        (
            part_table(COLUMNS[:1]),
            [
                {
                    "": "all",
                    "clips": "1,001",
                    "frames": "2,002",
                    "decoded here": "7",
                    "without label": "6",
                    "classes without clip": "5 of 400",
                }
            ],
        ),
        (
            bound_table([*COLUMNS, ("val", PART)]),
            [
                {"bound": "+-20 px", "all": "3 %", "val": "3 %", "step of a code": "0.157 px"},
                {"bound": "+-40 px", "all": "about 1 %", "val": "about 1 %", "step of a code": "0.315 px"},
            ],
        ),
        (
            class_table(PART),
            [
                {
                    "class": "yoga",
                    "clips": "1",
                    "decoded here": "2",
                    "bytes a frame": "3,000",
                    "bytes a field": "400",
                    "at the bound": "5 %",
                    "99 % are at most": "6.79 px",
                    "still": "7 %",
                    "camera": "8 %",
                },
                {
                    "class": "no label",
                    "clips": "0",
                    "decoded here": "0",
                    **dict.fromkeys(
                        ("bytes a frame", "bytes a field", "at the bound", "99 % are at most", "still", "camera"), "-"
                    ),
                },
            ],
        ),
    ],
)
def test_cells_are_under_their_names(table, rows):
    assert [dict(zip(table.head, row, strict=True)) for row in table.rows] == rows


def test_motion_has_a_column_for_each_part_that_was_measured():
    table = motion_table([*COLUMNS, ("val", PART)])
    assert table.head == ("", "all", "val")
    assert all(row[1] == row[2] for row in table.rows)
    assert [row[:2] for row in table.rows] == [
        ("clips", "1,200"),
        ("flow fields", "2,300"),
        ("at the bound, u and v together", "3 %"),
        ("u at the bound", "4 %"),
        ("v at the bound", "5 %"),
        ("50 % of |u| are at most", "0.50 px"),
        ("99.9 % of |u| are at most", "12.35 px"),
        ("50 % of |v| are at most", "0.25 px"),
        ("99.9 % of |v| are at most", "6.79 px"),
    ]
    assert motion_table(COLUMNS[1:]).head == ("",)


def test_sizes_have_a_digit_where_it_counts():
    assert size_table(COLUMNS).head == ("", "", "smallest", "median", "mean", "largest")
    assert size_table(COLUMNS).rows[:4] == (
        ("all", "bytes of a frame, mean of a clip", "10.5", "100", "3,000", "40,000"),
        ("all", "bytes of a flow field, mean of a clip", "1", "2", "3", "4"),
        ("all", "frames of a clip", "5", "6", "7", "8"),
        ("all", "clips of a class that has any", "1", "2.5", "100.0", "400"),
    )
    assert [row[:2] for row in size_table(COLUMNS).rows[4:]] == [
        ("train", title) for _, title, *_ in size_table(COLUMNS).rows[:3]
    ]
