"""Tests of i3d_train.results."""

import json
from dataclasses import replace

import numpy as np
import pytest

from i3d_train.results import Results, read_results, write_results
from i3d_train.scoring import ClassScore
from preprocess.errors import InvalidInput
from tests.i3d_train.small_results import TRIAL, answers, random_answers


def test_numbers_are_those_of_the_answers():
    found = Results.of(TRIAL, answers([[2, 1, 0], [2, 1, 0], [0, 5, 1], [9, 0, 0]], [1, 0, 1, -1]), most_wrong=5)
    assert (found.clips, found.unlabelled, found.top5) == (3, 1, 1.0)
    assert found.top1 == pytest.approx(2 / 3)
    assert found.mean_class == pytest.approx((1 + 1 / 2) / 2)
    # in the order of the logits, not of the clips
    assert list(found.classes.items()) == [
        ("archery", ClassScore(clips=1, top1=1, top5=1)),
        ("biking", ClassScore(clips=2, top1=1, top5=2)),
    ]


def test_most_wrong_are_wrong_answers_with_the_highest_loss_first():
    logits = [[0, 3, 0], [0, 9, 0], [5, 0, 0], [0, 0, 9]]
    found = Results.of(TRIAL, answers(logits, [0, 0, 0, -1]), most_wrong=5)
    assert [(clip.key, clip.label, clip.answer) for clip in found.most_wrong] == [
        ("k1", "archery", "biking"),
        ("k0", "archery", "biking"),
    ]
    assert found.most_wrong[0].loss == pytest.approx(9 + np.log1p(2 * np.exp(-9)), rel=1e-5)


def test_of_equal_losses_the_key_decides():
    found = answers([[0, 3, 0], [3, 0, 0], [0, 0, 3]], [0, 1, 0])
    keys = ("run 2", "run 10", "run 1")
    wrong = Results.of(TRIAL, replace(found, keys=keys), most_wrong=5).most_wrong
    assert [(clip.key, clip.answer) for clip in wrong] == [
        ("run 1", "cliff diving"),
        ("run 10", "archery"),
        ("run 2", "biking"),
    ]


def test_a_trial_names_what_was_tested_and_on_what():
    fused = replace(TRIAL, stream="both", fusion="mean", transfer="fixed", folds=(1, 2, 3), windows=10, crops=3)
    assert (TRIAL.name, TRIAL.where, TRIAL.views) == ("i3d rgb", "ucf101 test, fold 1", 1)
    assert fused.name == "i3d both, fixed, averaged probabilities"
    assert (fused.where, fused.views) == ("ucf101 test, mean of folds 1, 2, 3", 30)
    assert replace(TRIAL, folds=(), dataset="kinetics400", split="val").where == "kinetics400 val"


def test_no_more_of_the_most_wrong_than_asked_for():
    assert len(Results.of(TRIAL, answers([[0, 3, 0]] * 4, [0] * 4), most_wrong=3).most_wrong) == 3


def test_what_is_written_is_read_back(tmp_path):
    fused = replace(TRIAL, stream="both", fusion="sum", transfer="full", weights=("a", "b"), frames=None)
    results = [
        Results.of(tested, random_answers(seed), most_wrong=3, missing=seed)
        for seed, tested in enumerate((TRIAL, fused))
    ]
    path = write_results(tmp_path, results)
    assert read_results(path) == read_results(tmp_path) == results
    assert [one.missing for one in results] == [0, 1]
    # results that were written before are read by these
    assert json.loads(path.read_text())["format"] == "kineflow-results"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(version=0), r"has version 0, this reader knows 1"),
        (lambda record: record.update(version=9), r"has version 9, this reader knows 1"),
        (
            lambda record: record.update(format="x"),
            r"is no record of an evaluation; give a folder that `i3d_train eval",
        ),
        (lambda record: record["results"][0].pop("top1"), r"results.json.results\[0\] lacks top1"),
        (lambda record: record["results"][0].update(loss="much"), r"results\[0\].loss should be float, it is 'much'"),
        (lambda record: record["results"][0]["tested"].update(windows="10"), r"windows should be int, it is '10'"),
        (lambda record: record["results"][0]["tested"].update(model=5), r"tested.model should be str, it is 5"),
        (
            lambda record: record["results"][0]["most_wrong"][0].update(loss="x"),
            r"most_wrong\[0\].loss should be float",
        ),
        (
            lambda record: record["results"][0]["classes"].update(x={"clips": 0, "top1": 0, "top5": 0}),
            r"has class 'x' wi",
        ),
        (lambda record: record["results"][0]["tested"].update(transfer="some"), r"has transfer 'some', this"),
        (lambda record: record["results"][0]["tested"].update(fusion="product"), r"has fusion 'product', this one kn"),
    ],
)
def test_other_content_fails(change, message, tmp_path):
    path = write_results(tmp_path, [Results.of(TRIAL, random_answers(0), most_wrong=3)])
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidInput, match=message):
        read_results(path)


def test_json_that_is_no_record_fails(tmp_path):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InvalidInput, match=r"is no record of an evaluation"):
        read_results(tmp_path)


def test_folder_without_results_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"evaluation .*results.json: No such file or directory; give a folder that"):
        read_results(tmp_path)


def test_clips_without_any_label_have_no_numbers_fails():
    with pytest.raises(InvalidInput, match=r"none of the 2 clips that have an answer has a label to score against"):
        Results.of(TRIAL, answers([[2, 1, 0], [0, 1, 2]], [-1, -1]), most_wrong=5)
