"""Tests of i3d_train.fold_mean."""

from dataclasses import replace

import numpy as np
import pytest

from i3d_train.clip_logits import ClipLogits
from i3d_train.evaluation_folder import write_evaluation
from i3d_train.fold_mean import mean_over_folds
from i3d_train.fuse import fuse
from i3d_train.results import Results, read_results, write_results
from i3d_train.scoring import ClassScore
from preprocess.errors import InvalidInput
from tests.i3d_train.small_results import TRIAL, answers, random_answers, written


@pytest.fixture
def folds(tmp_path):
    """Three folds with one, two and four of four clips right."""
    right = {1: 1, 2: 2, 3: 4}
    logits = {fold: [[2, 1, 0]] * count + [[1, 2, 0]] * (4 - count) for fold, count in right.items()}
    return [written(tmp_path / f"fold{fold}", answers(logits[fold], [0] * 4), folds=(fold,)) for fold in right]


def test_mean_is_that_of_the_folds(folds):
    (mean,) = mean_over_folds(folds)
    assert mean.top1 == pytest.approx((1 / 4 + 2 / 4 + 4 / 4) / 3)
    assert mean.tested.folds == (1, 2, 3)
    assert mean.clips == 12


def test_folds_count_alike_whatever_their_size(tmp_path):
    large = written(tmp_path / "1", answers([[1, 0, 0]] * 9, [0] * 9), folds=(1,))
    small = written(tmp_path / "2", answers([[0, 1, 0]], [0]), folds=(2,))
    (mean,) = mean_over_folds([large, small])
    assert (mean.top1, mean.mean_class, mean.top5) == (0.5, 0.5, 1.0)


def test_classes_are_added_up(folds):
    (mean,) = mean_over_folds(folds)
    assert mean.classes == {"archery": ClassScore(clips=12, top1=7, top5=12)}


def test_every_number_is_that_of_the_folds_logits(tmp_path):
    rng = np.random.default_rng(0)
    names = tuple("abcdefgh")
    sizes, missing = {1: 40, 2: 25, 3: 60}, {1: 2, 2: 0, 3: 5}
    files, unlabelled, means = [], 0, {"loss": [], "top1": [], "top5": [], "mean_class": []}
    counts = {name: np.zeros(3, dtype=int) for name in names}
    for fold, clips in sizes.items():
        logits = rng.normal(size=(clips, 8)).astype(np.float32)
        # the last class has clips in the third fold only, and some clips have no label
        labels = rng.integers(-1, 8 if fold == 3 else 7, clips)
        keys = tuple(f"k{number}" for number in range(clips))
        found = ClipLogits(classes=names, keys=keys, labels=labels, logits=logits)
        tested = replace(TRIAL, folds=(fold,), weights=(f"w{fold}.pt",))
        results = Results.of(tested, found, most_wrong=3, missing=missing[fold])
        files.append(write_results(tmp_path, [results]).rename(tmp_path / f"{fold}.json"))
        unlabelled += (labels < 0).sum()
        rows = [(row, label) for row, label in zip(logits.astype(float), labels, strict=True) if label >= 0]
        rank = np.array([(row > row[label]).sum() for row, label in rows])
        label = np.array([label for _, label in rows])
        means["loss"].append(np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in rows]))
        means["top1"].append((rank < 1).mean())
        means["top5"].append((rank < 5).mean())
        means["mean_class"].append(np.mean([(rank[label == k] < 1).mean() for k in set(label.tolist())]))
        for k in set(label.tolist()):
            counts[names[k]] += [(label == k).sum(), (rank[label == k] < 1).sum(), (rank[label == k] < 5).sum()]
    (mean,) = mean_over_folds([files[2], files[0], files[1]])
    assert unlabelled > 0
    assert (mean.clips, mean.unlabelled, mean.missing) == (125 - unlabelled, unlabelled, 7)
    assert {name: getattr(mean, name) for name in means} == {
        name: pytest.approx(np.mean(values), rel=1e-5) for name, values in means.items()
    }
    assert {name: (one.clips, one.top1, one.top5) for name, one in mean.classes.items()} == {
        name: tuple(found) for name, found in counts.items()
    }
    assert mean.tested.weights == ("w1.pt", "w2.pt", "w3.pt")
    assert mean.most_wrong == ()


def test_each_data_set_and_split_has_its_mean(tmp_path):
    tests = [("ucf101", "test"), ("hmdb51", "test"), ("ucf101", "val")]
    files = []
    for fold in (1, 2):
        for right, (dataset, split) in enumerate(tests, start=1):
            found = answers([[1, 0, 0]] * right + [[0, 1, 0]] * (4 - right), [0] * 4)
            tested = replace(TRIAL, dataset=dataset, split=split, folds=(fold,))
            path = write_results(tmp_path, [Results.of(tested, found, most_wrong=3)])
            files.append(path.rename(tmp_path / f"{right}-{fold}.json"))
    means = mean_over_folds(files)
    assert [(one.tested.dataset, one.tested.split, one.top1) for one in means] == [
        ("ucf101", "test", 0.25),
        ("hmdb51", "test", 0.5),
        ("ucf101", "val", 0.75),
    ]


def test_order_of_the_folds_does_not_matter(folds):
    assert mean_over_folds(folds[::-1]) == mean_over_folds(folds)


def test_each_stream_and_fusion_has_its_mean(tmp_path):
    fused = []
    for fold in (1, 2, 3):
        rgb = written(tmp_path / f"rgb{fold}", random_answers(fold), folds=(fold,))
        flow = written(tmp_path / f"flow{fold}", random_answers(10 + fold), folds=(fold,), stream="flow")
        fused.append(tmp_path / f"both{fold}")
        write_evaluation(fused[-1], *fuse(rgb, flow))
    means = mean_over_folds(fused)
    assert [one.tested.name for one in means] == [one.tested.name for one in read_results(fused[0])]
    assert means[-1].top1 == pytest.approx(sum(read_results(folder)[-1].top1 for folder in fused) / 3)


def test_each_way_of_transfer_has_its_mean(tmp_path):
    found = [
        written(tmp_path / f"{way}{fold}", answers([logits], [0]), folds=(fold,), transfer=way)
        for way, logits in (("fixed", [0, 1, 0]), ("full", [1, 0, 0]))
        for fold in (1, 2)
    ]
    assert {one.tested.transfer: one.top1 for one in mean_over_folds(found)} == {"fixed": 0, "full": 1}


def test_same_fold_twice_fails(folds):
    with pytest.raises(InvalidInput, match=r"fold 2 of i3d rgb comes twice, in .*fold2 and .*fold2"):
        mean_over_folds([*folds, folds[1]])


def test_single_fold_fails(folds):
    with pytest.raises(InvalidInput, match=r"i3d rgb on ucf101 test has results of fold 1 only"):
        mean_over_folds(folds[:1])


def test_network_that_lacks_a_fold_fails(folds, tmp_path):
    others = [written(tmp_path / f"c3d{n}", random_answers(n), folds=(n,), model="c3d") for n in (1, 2)]
    with pytest.raises(InvalidInput, match=r"c3d rgb has no results of fold 3, which others have"):
        mean_over_folds([*folds, *others])


def test_results_without_a_fold_fails(folds, tmp_path):
    with pytest.raises(InvalidInput, match=r"kinetics is of no fold; give results of `i3d_train evaluate --fold N"):
        mean_over_folds([*folds, written(tmp_path / "kinetics", random_answers(0), folds=())])


def test_mean_of_means_fails(folds, tmp_path):
    write_evaluation(tmp_path / "mean", mean_over_folds(folds))
    with pytest.raises(InvalidInput, match=r"is of the mean of folds 1, 2, 3"):
        mean_over_folds([tmp_path / "mean"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 64}, r"frames 250, .*other with 64"),
        ({"crop": 112}, r"crop 224, .*other with 112"),
        ({"windows": 10}, r"windows 1, .*other with 10"),
        ({"crops": 3}, r"crops 1, .*other with 3"),
    ],
)
def test_folds_tested_otherwise_fails(changes, message, folds, tmp_path):
    other = written(tmp_path / "other", random_answers(0), folds=(3,), **changes)
    with pytest.raises(InvalidInput, match=rf"fold1 was tested with {message}; use the same"):
        mean_over_folds([*folds[:2], other])
