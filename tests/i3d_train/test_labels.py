"""Tests of i3d_train.labels."""

import pytest

from i3d_train.labels import class_names, kinetics400, read_labels
from preprocess.errors import InvalidInput


def test_kinetics400_is_the_published_list(shared_data):
    published = shared_data / "lists" / "label_map_k400_deepmind.txt"
    assert kinetics400() == tuple(published.read_text().splitlines())


def test_kinetics400_ends_are_in_place():
    names = kinetics400()
    assert (len(names), names[0], names[227], names[-1]) == (400, "abseiling", "playing cricket", "zumba")


def test_a_file_comes_before_the_names_of_the_weights(tmp_path):
    (tmp_path / "labels.txt").write_text("walk\nrun\n")
    assert class_names(2, known=("a", "b"), file=tmp_path / "labels.txt") == ("walk", "run")


def test_names_of_the_weights_come_before_kinetics():
    known = tuple(f"own {n}" for n in range(400))
    assert class_names(400, known=known) == known


def test_400_unnamed_classes_are_kinetics():
    assert class_names(400) == kinetics400()


def test_other_unnamed_classes_are_numbered():
    assert class_names(2) == ("class 0", "class 1")


def test_wrong_count_fails(tmp_path):
    (tmp_path / "labels.txt").write_text("walk\nrun\n")
    with pytest.raises(InvalidInput, match=r"labels\.txt names 2 classes, the network has 3"):
        class_names(3, file=tmp_path / "labels.txt")


@pytest.mark.parametrize(("text", "message"), [("a\n\nb\n", r"line 2: '' is"), ("a\nb\na\n", r"line 3: 'a' is")])
def test_empty_or_repeated_name_fails(text, message, tmp_path):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_labels(tmp_path / "labels.txt")


def test_missing_file_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing\.txt cannot be read"):
        read_labels(tmp_path / "nothing.txt")
