"""Tests of i3d_train.results_page."""

from dataclasses import replace

import pytest

from i3d_train.confusion import Confusion
from i3d_train.results import Results
from i3d_train.results_page import results_page
from preprocess.errors import InvalidInput
from tests.i3d_train.small_results import TRIAL, answers, random_answers


def result(found=None, **changes) -> Results:
    found = answers([[1, 0, 0], [0, 1, 0]], [0, 0]) if found is None else found
    return Results.of(replace(TRIAL, **changes), found, most_wrong=20)


def rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def test_rows_are_architectures_in_the_papers_order_and_columns_streams():
    results = [result(), result(stream="flow"), result(model="c3d"), result(model="new"), result(model="two_stream")]
    table = rows(results_page(results))
    where = "ucf101 test, fold 1"
    assert table[0] == ["Architecture", f"{where}: RGB", f"{where}: Flow", f"{where}: RGB + Flow"]
    assert table[2:6] == [
        ["(b) 3D-ConvNet", "50.0", "-", "-"],
        ["(c) Two-Stream", "50.0", "-", "-"],
        ["(e) Two-Stream I3D", "50.0", "50.0", "-"],
        ["new", "50.0", "-", "-"],
    ]


def test_each_way_of_transfer_has_its_row():
    ways = ["full", None, "original", "fixed"]
    page = results_page([result(transfer=way) for way in ways] + [result(transfer="full", stream="flow")])
    network = "(e) Two-Stream I3D"
    assert [row[0] for row in rows(page)[2:6]] == [
        network,
        f"{network}, original",
        f"{network}, fixed",
        f"{network}, full",
    ]
    assert rows(page)[5] == [f"{network}, full", "50.0", "50.0", "-"]
    assert [row[0] for row in rows(page)[8:]][:2] == ["i3d rgb, full", "i3d rgb"]


def test_each_test_has_its_columns():
    table = rows(results_page([result(), result(dataset="kinetics400", split="val", folds=())]))
    assert table[0][1::3] == ["ucf101 test, fold 1: RGB", "kinetics400 val: RGB"]
    assert table[2] == ["(e) Two-Stream I3D", "50.0", "-", "-", "50.0", "-", "-"]


@pytest.mark.parametrize("order", [("sum", "mean"), ("mean", "sum")])
def test_first_table_has_the_sum_of_logits_and_the_second_both(order):
    found = {"sum": answers([[1, 0, 0]], [0]), "mean": answers([[0, 1, 0]], [0])}
    page = results_page([result(found[way], stream="both", fusion=way) for way in order])
    assert rows(page)[2] == ["(e) Two-Stream I3D", "-", "-", "100.0"]
    assert "i3d both, averaged probabilities" in page
    assert "The first table has the sum of logits where there are both fusions." in page


def test_every_number_stands_under_its_name():
    numbers = {"clips": 1234, "top1": 0.12341, "top5": 0.56784, "mean_class": 0.23457, "loss": 2.34567}
    one = replace(result(weights=("a.pt", "b.pt"), windows=10, crops=3, frames=64), **numbers)
    table = rows(results_page([one]))
    assert dict(zip(table[3], table[5], strict=True)) == {
        "Network": "i3d rgb",
        "Test": "ucf101 test, fold 1",
        "Clips": "1234",
        "Top-1": "12.34",
        "Top-5": "56.78",
        "Mean per class": "23.46",
        "Loss": "2.3457",
        "Frames": "64",
        "Crop": "224",
        "Windows": "10",
        "Crops": "3",
        "Weights": "a.pt + b.pt",
    }
    assert table[2] == ["(e) Two-Stream I3D", "12.3", "-", "-"]
    assert "both fusions" not in results_page([one])


def test_clips_that_are_missing_are_told_of_each_result():
    page = results_page([replace(result(), missing=3), result(stream="flow")])
    assert "3 clips were in no shard or could not be read, and are in no number of i3d rgb on ucf101 test" in page
    assert page.count("were in no shard") == 1


def test_network_that_takes_no_clip_for_another_class_has_no_pairs():
    found = answers([[9, 0, 0]], [0])
    page = results_page([result(found)], confusion=Confusion.of(found))
    assert "No clip was taken for another class." in page
    assert "Most wrong" not in page


def test_most_wrong_and_confusions_are_named():
    found = answers([[0, 9, 0], [0, 1, 0]], [0, 0])
    table = rows(results_page([result(found)], confusion=Confusion.of(found)))
    assert ["archery", "biking", "2"] in table
    assert ["9.000", "k0", "archery", "biking"] in table


MIDDLE = "One view: the middle of a clip, looped"
ALL = "One view of all frames: a clip from its first to its last, centre crop."
SEVERAL = "Several views: the mean of their probabilities."


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, [MIDDLE]),
        ({"frames": None}, [ALL]),
        ({"frames": None, "crops": 3}, [SEVERAL]),
        ({"windows": 10, "crops": 3}, [SEVERAL]),
    ],
)
def test_note_says_what_was_seen_of_a_clip(changes, notes):
    page = results_page([result(**changes)])
    assert [note for note in (MIDDLE, ALL, SEVERAL) if note in page] == notes
    tested = replace(TRIAL, **changes)
    assert [str(tested.frames or "all"), "224", str(tested.windows), str(tested.crops), "rgb.pt"] in [
        row[-5:] for row in rows(page)
    ]


def test_clips_without_a_label_are_told_of_each_result():
    found = random_answers(0)
    # the same network on two folds
    page = results_page([result(found), result(found, folds=(2,)), result(model="c3d")])
    for where in ("ucf101 test, fold 1", "ucf101 test, fold 2"):
        assert f"1 clips have no label, and are in no number of i3d rgb on {where}." in page
    assert page.count("have no label") == 2


def test_names_cannot_break_the_table():
    found = replace(random_answers(0), classes=("a|b", "c\nd", "\x1b[2J"), keys=tuple("|234567"))
    page = results_page([result(found, model="\x1b[2J", dataset="\x1b[2J")], confusion=Confusion.of(found))
    assert "\x1b" not in page
    assert "c\nd" not in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in lines)


@pytest.mark.parametrize(
    ("fusions", "name"),
    [
        ((None, None), "i3d rgb"),
        (("sum", "sum"), "i3d rgb, sum of logits"),
        (("mean", "sum", "mean"), "i3d rgb, averaged probabilities"),
        (("sum", None), "i3d rgb"),
    ],
)
def test_same_network_and_test_twice_fails(fusions, name):
    first, *others = (result(fusion=fusion) for fusion in fusions)
    last = replace(others.pop(), tested=replace(first.tested, fusion=fusions[-1], weights=("b.pt",)))
    message = rf"two results are of {name} on ucf101 test, fold 1: rgb.pt .* and b.pt .*; leave one of them out"
    with pytest.raises(InvalidInput, match=message):
        results_page([first, *others, last])


def test_same_weights_tested_in_two_ways_are_told_apart_fails():
    several = result(frames=None, crop=256, windows=10, crops=3)
    first, second = "frames 250, crop 224, windows 1, crops 1", "frames all, crop 256, windows 10, crops 3"
    message = rf"fold 1: rgb.pt \({first}\) and rgb.pt \({second}\); leave one of them out"
    with pytest.raises(InvalidInput, match=message):
        results_page([result(), several])
