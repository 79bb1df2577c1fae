"""Tests of i3d_train.labels."""

import pytest

from i3d_train.labels import class_names
from preprocess.errors import InvalidInput
from preprocess.labels import label_table


def test_a_file_comes_before_the_names_of_the_weights(tmp_path):
    (tmp_path / "labels.txt").write_text("walk\nrun\n")
    assert class_names(2, known=("a", "b"), file=tmp_path / "labels.txt") == ("walk", "run")


def test_names_of_the_weights_come_before_kinetics():
    known = tuple(f"own {n}" for n in range(400))
    assert class_names(400, known=known) == known


def test_400_unnamed_classes_are_kinetics():
    assert class_names(400) == label_table("kinetics400")


def test_other_unnamed_classes_are_numbered():
    assert class_names(2) == ("class 0", "class 1")


def test_wrong_count_fails(tmp_path):
    (tmp_path / "labels.txt").write_text("walk\nrun\n")
    with pytest.raises(InvalidInput, match=r"labels\.txt names 2 classes, the network has 3"):
        class_names(3, file=tmp_path / "labels.txt")
