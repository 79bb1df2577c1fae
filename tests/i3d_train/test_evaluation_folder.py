"""Tests of i3d_train.evaluation_folder."""

import pytest

from i3d_train.clip_logits import ClipLogits
from i3d_train.evaluation_folder import write_evaluation
from i3d_train.fold_mean import mean_over_folds
from i3d_train.results import Results, read_results
from preprocess.errors import EnvironmentProblem
from tests.i3d_train.small_results import TRIAL, random_answers, written


def evaluated(folder, found):
    write_evaluation(folder, [Results.of(TRIAL, found, most_wrong=20)], found)
    return folder


def test_all_files_are_there(tmp_path):
    folder = evaluated(tmp_path / "new" / "rgb", random_answers(0))
    assert {path.name for path in folder.iterdir()} == {
        "results.json",
        "results.md",
        "logits.npz",
        "confusion.csv",
        "confusion.png",
    }
    assert ClipLogits.read(folder / "logits.npz").keys == random_answers(0).keys


def test_files_of_an_earlier_evaluation_do_not_stay(tmp_path):
    folds = [written(tmp_path / str(fold), random_answers(fold), folds=(fold,)) for fold in (1, 2)]
    folder = evaluated(tmp_path / "out", random_answers(0))
    write_evaluation(folder, mean_over_folds(folds))
    assert {path.name for path in folder.iterdir()} == {"results.json", "results.md"}


def test_stopped_halfway_there_are_no_results(tmp_path, monkeypatch):
    folder = evaluated(tmp_path / "out", random_answers(0))
    before = read_results(folder)
    monkeypatch.setattr("i3d_train.evaluation_folder.Confusion.draw", lambda *_, **__: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError, match=r"^$"):
        evaluated(folder, random_answers(1))
    assert before
    assert not (folder / "results.json").exists()


def test_folder_that_cannot_be_made_fails(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"cannot make the folder .*file/out"):
        evaluated(tmp_path / "file" / "out", random_answers(0))
