"""Tests of i3d_train.confusion."""

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from i3d_train.clip_logits import ClipLogits
from i3d_train.confusion import Confusion
from tests.i3d_train.small_results import answers


def test_rows_are_classes_and_columns_answers():
    found = Confusion.of(answers([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 1, 2]))
    assert found.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_clips_without_a_label_are_not_counted():
    assert Confusion.of(answers([[1, 0, 0], [0, 1, 0]], [0, -1])).counts.tolist() == [[1]]


def test_only_classes_with_a_clip_or_an_answer_are_there():
    found = Confusion.of(answers([[0, 0, 1], [0, 0, 1]], [0, 2]))
    assert found.classes == ("archery", "cliff diving")
    assert found.counts.tolist() == [[0, 1], [0, 1]]


def test_worst_pairs_are_the_most_frequent_confusions():
    logits = [[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    found = Confusion.of(answers(logits, [0, 0, 0, 0]))
    assert found.worst_pairs(5) == [("archery", "cliff diving", 2), ("archery", "biking", 1)]


def test_no_more_pairs_than_asked_for_and_of_equal_ones_the_first_class_first():
    pairs = [(2, 0), (0, 2), (1, 0), (0, 1), (2, 0)]
    found = Confusion.of(answers([np.eye(3)[answer] for _, answer in pairs], [label for label, _ in pairs]))
    assert found.worst_pairs(3) == [
        ("cliff diving", "archery", 2),
        ("archery", "biking", 1),
        ("archery", "cliff diving", 1),
    ]


def test_counts_are_those_of_the_clips_one_by_one():
    rng = np.random.default_rng(0)
    found = ClipLogits(
        classes=tuple("abcdef"),
        keys=tuple(map(str, range(200))),
        labels=rng.integers(-1, 6, 200),
        logits=rng.normal(size=(200, 6)).astype(np.float32),
    )
    wanted = np.zeros((6, 6), dtype=int)
    for label, row in zip(found.labels.tolist(), found.logits.tolist(), strict=True):
        if label >= 0:
            wanted[label, row.index(max(row))] += 1
    assert Confusion.of(found).counts.tolist() == wanted.tolist()


def test_csv_names_its_rows_and_columns(tmp_path):
    Confusion(classes=('a, "b"', "c"), counts=np.array([[3, 1], [0, 2]])).write_csv(tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == 'class,"a, ""b""",c\n"a, ""b""",3,1\nc,0,2\n'


def drawn(classes: int, tmp_path) -> np.ndarray:
    rng = np.random.default_rng(classes)
    names = tuple(f"$class_{number} with a name" for number in range(classes))
    counts = rng.integers(0, 2, (classes, classes)) + 20 * np.eye(classes, dtype=int)
    Confusion(classes=names, counts=counts).draw(tmp_path / "c.png", title="i3d rgb")
    return matplotlib.image.imread(io.BytesIO((tmp_path / "c.png").read_bytes()), format="png")


@pytest.mark.parametrize("classes", [1, 2, 8, 30])
def test_picture_has_room_for_every_name(classes, tmp_path):
    picture = drawn(classes, tmp_path)
    assert min(picture.shape[:2]) > 9 * classes
    # what is drawn ends before the edge: nothing is cut off
    edges = [picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]]
    assert all((edge == 1).all() for edge in edges)


def test_picture_shows_shares_of_a_class_and_numbers_its_clips(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: figures.append(self) or save(self, *args, **kwargs)
    )
    names = ("first", "second", "n" * 41)
    Confusion(classes=names, counts=np.array([[6, 4, 0], [1, 3, 0], [0, 0, 0]])).draw(tmp_path / "c.png", title="i3d")
    axes, bar = figures[0].axes
    (image,) = axes.images
    shares = np.ma.filled(image.get_array(), np.nan)
    assert np.allclose(shares, [[0.6, 0.4, 0], [0.25, 0.75, 0], [np.nan] * 3], equal_nan=True)
    assert image.get_clim() == (0, 1)
    assert (axes.get_ylabel(), axes.get_xlabel(), axes.get_title()) == ("class", "answer", "i3d")
    assert bar.get_ylabel() == "share of the class's clips"
    shown = ["first", "second", "n" * 37 + "..."]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == shown
    assert [tick.get_text() for tick in axes.get_xticklabels()] == shown
    assert [(text.get_position(), text.get_text(), text.get_color()) for text in axes.texts] == [
        ((0, 0), "6", "white"),
        ((1, 0), "4", "white"),
        ((0, 1), "1", "black"),
        ((1, 1), "3", "white"),
    ]


def test_diagonal_is_dark_and_the_row_of_a_class_without_clips_gray(tmp_path):
    Confusion(classes=("a", "b"), counts=np.array([[0, 0], [0, 4]])).draw(tmp_path / "c.png", title="")
    picture = matplotlib.image.imread(tmp_path / "c.png")[..., :3]
    gray = np.isclose(picture, 0.9, atol=0.01).all(axis=2)
    dark_blue = (picture[..., 2] > 0.35) & (picture[..., 0] < 0.1)
    assert gray.sum() > 10_000
    assert dark_blue.sum() > 10_000


def test_answers_of_many_classes_are_counted_quickly():
    rng = np.random.default_rng(0)
    found = ClipLogits(
        classes=tuple(map(str, range(400))),
        keys=tuple(map(str, range(5000))),
        labels=rng.integers(0, 400, 5000),
        logits=rng.normal(size=(5000, 400)).astype(np.float32),
    )
    assert Confusion.of(found).counts.sum() == 5000
