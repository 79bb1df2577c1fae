"""Tests of i3d_train.fuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from i3d_train.evaluation_folder import write_evaluation
from i3d_train.fuse import fuse
from i3d_train.results import read_results, write_results
from preprocess.errors import InvalidInput
from tests.i3d_train.small_results import CLASSES, answers, random_answers, written


@pytest.fixture
def rgb(tmp_path):
    return written(tmp_path / "rgb", random_answers(0))


def flow_folder(tmp_path, found=None, **changes):
    found = random_answers(1) if found is None else found
    return written(tmp_path / "flow", found, **{"stream": "flow", "weights": ("flow.pt",)} | changes)


def test_sum_adds_the_logits(rgb, tmp_path):
    results, answers = fuse(rgb, flow_folder(tmp_path))
    assert np.allclose(answers.logits, random_answers(0).logits + random_answers(1).logits)
    assert results[-1].tested.fusion == "sum"
    assert results[-1].loss == pytest.approx(answers.scores().loss)


def test_mean_averages_the_probabilities(rgb, tmp_path):
    colour, motion = (torch.from_numpy(random_answers(seed).logits).softmax(1) for seed in (0, 1))
    results, answers = fuse(rgb, flow_folder(tmp_path))
    (mean,) = (one for one in results if one.tested.fusion == "mean")
    label = torch.from_numpy(answers.labels[:-1])
    wanted = torch.nn.functional.nll_loss(((colour + motion) / 2).log()[:-1], label)
    assert mean.loss == pytest.approx(float(wanted), rel=1e-5)


def test_numbers_are_those_of_each_way_of_fusion(tmp_path):
    # colour is sure of the wrong class, flow leans to the right one twice: sum and mean disagree on the first clip
    colour, motion = [[0, 12, 11], [3, 0, 0], [0, 4, 0]], [[6, 0, 5], [0, 1, 0], [0, 0, 9]]
    rgb = written(tmp_path / "rgb", answers(colour, [2, 1, 1]))
    results, _ = fuse(rgb, flow_folder(tmp_path, answers(motion, [2, 1, 1])), most_wrong=1)
    probabilities = [np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) for logits in (colour, motion)]
    total = np.exp(np.add(colour, motion, dtype=float))
    wanted = {"mean": np.mean(probabilities, axis=0), "sum": total / total.sum(axis=1, keepdims=True)}
    assert wanted["mean"][0].argmax() != wanted["sum"][0].argmax()
    for one in results[2:]:
        shares = wanted[one.tested.fusion]
        right = shares.argmax(axis=1) == [2, 1, 1]
        losses = -np.log(shares[range(3), [2, 1, 1]])
        assert one.top1 == pytest.approx(right.mean())
        assert one.mean_class == pytest.approx((right[0] + right[1:].mean()) / 2)
        assert one.loss == pytest.approx(losses.mean(), rel=1e-5)
        worst = max(np.flatnonzero(~right), key=lambda row: losses[row])
        assert [(clip.key, clip.loss) for clip in one.most_wrong] == [
            (f"k{worst}", pytest.approx(losses[worst], rel=1e-5))
        ]


def test_streams_alone_are_in_the_results_too(rgb, tmp_path):
    results, _ = fuse(rgb, flow_folder(tmp_path))
    assert [one.tested.name for one in results] == [
        "i3d rgb",
        "i3d flow",
        "i3d both, averaged probabilities",
        "i3d both, sum of logits",
    ]
    assert results[-1].tested.weights == ("rgb.pt", "flow.pt")


def test_clips_that_are_missing_are_missing_in_the_fusion_too(rgb, tmp_path):
    flow = flow_folder(tmp_path)
    for folder, missing in ((rgb, 3), (flow, 2)):
        write_results(folder, [replace(one, missing=missing) for one in read_results(folder)])
    assert [one.missing for one in fuse(rgb, flow)[0]] == [3, 2, 3, 3]


def test_order_of_clips_and_classes_does_not_matter(rgb, tmp_path):
    found = random_answers(1)
    classes, clips = [2, 0, 1], [3, 6, 0, 1, 5, 4, 2]
    labels = np.array([classes.index(label) if label >= 0 else -1 for label in found.labels])
    shuffled = replace(
        found,
        classes=tuple(CLASSES[k] for k in classes),
        keys=tuple(found.keys[row] for row in clips),
        labels=labels[clips],
        logits=found.logits[np.ix_(clips, classes)],
    )
    _, plain = fuse(rgb, flow_folder(tmp_path / "plain"))
    _, other = fuse(rgb, flow_folder(tmp_path / "other", shuffled))
    assert other.keys == plain.keys
    assert np.array_equal(other.logits, plain.logits)


def test_results_files_are_taken_for_their_folders(rgb, tmp_path):
    flow = flow_folder(tmp_path)
    results, answers = fuse(rgb / "results.json", flow / "results.json")
    assert results == fuse(rgb, flow)[0]
    assert len(answers) == 7


def test_clip_that_one_lacks_fails(rgb, tmp_path):
    with pytest.raises(InvalidInput, match=r"rgb has no clip 'k7' \(1 in all\), which .*flow has"):
        fuse(rgb, flow_folder(tmp_path, random_answers(1, clips=8)))


def test_class_that_one_lacks_fails(rgb, tmp_path):
    other = replace(random_answers(1), classes=("archery", "biking", "diving"))
    with pytest.raises(InvalidInput, match=r"flow has no class 'cliff diving' \(1 in all\)"):
        fuse(rgb, flow_folder(tmp_path, other))


def test_other_label_fails(rgb, tmp_path):
    found = random_answers(1)
    other = replace(found, labels=np.where(np.arange(7) == 2, 0, found.labels))
    with pytest.raises(InvalidInput, match=r"clip 'k2' has another label in .*flow than in .*rgb \(1 such clips\)"):
        fuse(rgb, flow_folder(tmp_path, other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": "rgb"}, r"holds results of i3d rgb, expected those of one network for flow"),
        ({"model": "c3d"}, r"is of model i3d, .*flow of c3d; fuse two evaluations of the same test"),
        ({"transfer": "full"}, r"is of transfer None, .*flow of full"),
        ({"folds": (2, 3)}, r"is of folds 1, .*flow of 2, 3;"),
        ({"folds": ()}, r"is of folds 1, .*flow of none;"),
        ({"split": "val"}, r"is of split test, .*flow of val"),
        ({"dataset": "hmdb51"}, r"is of dataset ucf101, .*flow of hmdb51"),
        ({"frames": 64}, r"is of frames 250, .*flow of 64"),
        ({"crop": 112}, r"is of crop 224, .*flow of 112"),
        ({"windows": 10}, r"is of windows 1, .*flow of 10"),
        ({"crops": 3}, r"is of crops 1, .*flow of 3"),
    ],
)
def test_evaluation_of_something_else_fails(changes, message, rgb, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        fuse(rgb, flow_folder(tmp_path, **changes))


def test_fusion_is_not_fused_again_fails(rgb, tmp_path):
    flow = flow_folder(tmp_path)
    write_evaluation(tmp_path / "both", *fuse(rgb, flow))
    with pytest.raises(InvalidInput, match=r"both holds results of i3d rgb, i3d flow, i3d both, averaged prob"):
        fuse(tmp_path / "both", flow)


def test_folders_the_wrong_way_round_fails(rgb, tmp_path):
    with pytest.raises(InvalidInput, match=r"expected those of one network for rgb; give the rgb folder first"):
        fuse(flow_folder(tmp_path), rgb)
