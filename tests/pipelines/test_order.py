import numpy as np
import pytest

from pipelines.order import Group, TrainingOrder
from preprocess.errors import InvalidInput


def group(first: int, last: int, weight: float = 1.0, name: str = "a") -> Group:
    return Group(name=name, rows=np.arange(first, last), weight=weight)


def test_one_group_is_shuffled_whole():
    order = TrainingOrder([group(0, 50)], seed=3)
    epochs = [order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_order_of_plain_training_has_not_changed():
    # kept bit for bit, so that an older run can be told apart from a newer one by its clips only
    expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(2,))).permutation(30)
    assert TrainingOrder([group(0, 30)], seed=7)(2).tolist() == expected.tolist()


def test_shares_follow_the_weights_and_add_up():
    order = TrainingOrder([group(0, 10, 1), group(10, 40, 2, "b"), group(40, 50, 4, "c")], seed=0)
    for epoch in range(4):
        rows = order(epoch)
        assert len(rows) == 50
        assert np.histogram(rows, [0, 10, 40, 50])[0].tolist() == [7, 14, 29]


def test_no_clip_of_a_group_comes_twice_before_all_have_come():
    order = TrainingOrder([group(0, 7, 1), group(7, 40, 1, "b")], seed=0)
    drawn = np.concatenate([order(epoch) for epoch in range(20)])
    for rows in (drawn[drawn < 7], drawn[drawn >= 7] - 7):
        size = 7 if len(set(rows.tolist())) == 7 else 33
        counts = np.bincount(rows, minlength=size)
        assert counts.max() - counts.min() <= 1


def test_groups_are_mixed_and_not_one_after_the_other():
    rows = TrainingOrder([group(0, 500), group(500, 1000, name="b")], seed=0)(0)
    changes = np.count_nonzero(np.diff(rows >= 500))
    assert 430 < changes < 570


def test_groups_of_one_size_are_each_in_an_order_of_their_own():
    rows = TrainingOrder([group(0, 20), group(20, 40, name="b")], seed=0)(0)
    assert rows[rows < 20].tolist() != (rows[rows >= 20] - 20).tolist()


def test_shuffle_within_some_shards_at_a_time():
    shard = np.repeat(np.arange(10), 6)
    order = TrainingOrder([group(0, 60)], seed=0, shard=shard, shuffle_shards=3)
    rows = order(0)
    assert sorted(rows.tolist()) == list(range(60))
    blocks = [set(shard[rows[first : first + 18]].tolist()) for first in range(0, 60, 18)]
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    assert set().union(*blocks) == set(range(10))
    assert rows[:18].tolist() != sorted(rows[:18].tolist())
    assert len({frozenset(shard[order(epoch)[:18]].tolist()) for epoch in range(5)}) > 1


def test_as_many_shards_at_a_time_as_there_are_is_a_whole_shuffle():
    order = TrainingOrder([group(0, 600)], seed=0, shard=np.repeat(np.arange(10), 60), shuffle_shards=10)
    shards = np.repeat(np.arange(10), 60)[order(0)]
    assert len(set(shards[:60].tolist())) == 10


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_weight_that_is_no_share_fails(weight):
    with pytest.raises(InvalidInput, match=r"b has weight .*; it must be above 0"):
        TrainingOrder([group(0, 5), group(5, 9, weight, "b")], seed=0)


def test_weight_that_gives_nothing_fails():
    with pytest.raises(InvalidInput, match=r"b has weight 0\.001 of 1\.001, which is none of an epoch's 9 positions"):
        TrainingOrder([group(0, 5), group(5, 9, 0.001, "b")], seed=0)


def test_passes_follow_one_another_within_an_epoch_of_a_mixture():
    # each pass whole before the next, though the other group lies between
    rows = TrainingOrder([group(0, 10, 1), group(10, 60, 1, "b")], seed=0)(0)
    drawn = rows[rows < 10]
    assert len(drawn) == 30
    for first in range(0, 30, 10):
        assert sorted(drawn[first : first + 10].tolist()) == list(range(10))


def test_shards_of_a_mixture_are_shuffled_some_at_a_time_too():
    shard = np.repeat(np.arange(20), 10)
    order = TrainingOrder([group(0, 100), group(100, 200, name="b")], seed=0, shard=shard, shuffle_shards=1)
    rows = order(0)
    for mine in (shard[rows[rows < 100]], shard[rows[rows >= 100]]):
        assert np.count_nonzero(np.diff(mine)) == 9
