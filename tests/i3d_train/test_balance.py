"""Tests of i3d_train.balance."""

import logging
from types import SimpleNamespace

import numpy as np

from i3d_train.balance import tell_balance


def told(counts: tuple[int, ...], caplog, *, level: int = logging.WARNING) -> str:
    # the one clip without a label is in no count
    label = np.repeat(np.arange(-1, len(counts), dtype=np.int32), [1, *counts])
    labels = tuple(f"class{number}" for number in range(len(counts)))
    with caplog.at_level(level):
        tell_balance(SimpleNamespace(clips=SimpleNamespace(label=label), labels=labels, split="train"))
    return caplog.text


def test_even_classes_are_no_warning(caplog):
    assert told((5, 5, 5), caplog) == ""


def test_even_classes_are_told_in_one_number(caplog):
    assert "15 clips of 3 classes in the train split, 5 of each" in told((5, 5, 5), caplog, level=logging.INFO)


def test_classes_that_differ_little_are_told(caplog):
    text = told((5, 6, 9), caplog, level=logging.INFO)
    assert "20 clips of 3 classes in the train split: 9 of 'class2', the most, 5 of 'class0', the fewest" in text
    assert "WARNING" not in text


def test_uneven_classes_are_warned_of_with_numbers(caplog):
    text = told((100, 10, 50), caplog)
    assert "100 of 'class0', the most, 10 of 'class1', the fewest, median 50; the rare ones will hardly" in text


def test_classes_without_clips_are_warned_of_by_name(caplog):
    text = told((3, 0, 3, 0), caplog)
    assert "2 of 4 classes have no clip in the train split and cannot be learned, such as 'class1', 'class3'" in text
