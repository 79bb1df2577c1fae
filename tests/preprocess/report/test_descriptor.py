import numpy as np
import pytest

from preprocess.report.descriptor import FAR, class_scores, describe
from tests.preprocess.report.shard_sets import picture, uniform


def described(*, seed=0, color=(90, 90, 90), u=2.0, v=0.0):
    return describe([picture(seed, color=color)], uniform(u, v)[None])


def test_directions_are_eight_and_one_for_slow():
    bins = [
        int(describe([picture(0)], uniform(u, v)[None])[64:].argmax())
        for u, v in [(2, 0), (2, 2), (0, 2), (-2, 2), (-2, 0), (-2, -2), (0, -2), (2, -2), (0.9, 0)]
    ]
    assert bins == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_colors_are_four_levels_of_each():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    descriptor = describe([red], uniform(0, 0)[None])
    assert descriptor[3 * 16] == 1
    assert np.square(descriptor).sum() == pytest.approx(2)


@pytest.mark.parametrize("odd", [{"color": (200, 20, 20)}, {"u": -2.0}])
def test_what_looks_or_moves_unlike_its_class_stands_out(odd):
    usual = [described(seed=seed) for seed in range(20)]
    scores = class_scores(np.stack([*usual, described(seed=99, **odd)]), np.zeros(21, int))
    assert scores[20] > FAR
    assert scores[20] == scores.max()
    assert np.median(scores) < 1


def test_another_class_is_not_far_from_itself():
    descriptors = np.stack([described(seed=seed, u=2.0 if seed < 10 else -2.0) for seed in range(20)])
    assert class_scores(descriptors, np.arange(20) // 10).max() < 2 * FAR
    assert class_scores(descriptors[[*range(10), 10]], np.zeros(11, int))[10] > 5 * FAR


def test_classes_of_few_clips_are_not_judged():
    descriptors = np.stack([described(seed=seed) for seed in range(12)])
    labels = np.array([0] * 5 + [1] * 4 + [-1] * 3)
    assert np.isnan(class_scores(descriptors, labels)).tolist() == [False] * 5 + [True] * 7


def test_where_no_class_is_judged_nothing_is_known():
    scores = class_scores(np.stack([described(seed=seed) for seed in range(4)]), np.array([0, 0, 1, -1]))
    assert np.isnan(scores).tolist() == [True] * 4


def test_where_all_are_alike_nothing_stands_out():
    assert class_scores(np.stack([described()] * 6), np.zeros(6, int)).tolist() == [0] * 6
