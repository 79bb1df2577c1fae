import numpy as np
import pytest

from preprocess.report.sampling import draw, some_of_each

ROWS = np.arange(1000, 1100)
STRATA = np.array([0] * 60 + [1] * 30 + [2] * 10)


def test_each_stratum_has_its_share():
    for seed in range(20):
        drawn = draw(ROWS, strata=STRATA, wanted=15, seed=seed)
        counts = np.bincount(STRATA[drawn - 1000], minlength=3)
        assert len(set(drawn.tolist())) == 15
        assert (np.abs(counts - [9, 4.5, 1.5]) < 1).all(), counts


@pytest.mark.parametrize("strata", [STRATA, ROWS], ids=["three strata", "each its own"])
def test_each_clip_has_the_same_chance(strata):
    times = np.zeros(len(ROWS))
    for seed in range(600):
        times[draw(ROWS, strata=strata, wanted=25, seed=seed) - 1000] += 1
    # a quarter of 600 is 150, with a standard deviation of 11
    assert times.min() > 100
    assert times.max() < 200


def test_a_seed_is_a_draw():
    draws = [draw(ROWS, strata=STRATA, wanted=25, seed=seed).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == sorted(draws[0])


def test_no_more_than_there_are():
    assert draw(ROWS[::-1], strata=STRATA, wanted=1000, seed=0).tolist() == ROWS.tolist()


def test_some_of_each_class_whatever_its_share():
    found = some_of_each(ROWS, strata=STRATA, wanted=20, seed=0)
    assert [len(rows) for rows in found] == [20, 20, 10]
    assert [set(STRATA[rows - 1000].tolist()) for rows in found] == [{0}, {1}, {2}]
