"""Tests of i3d_train.feed."""

from dataclasses import replace

import pytest
import torch

from i3d_train.config import TrainConfig
from i3d_train.feed import Feed
from i3d_train.process_group import ALONE, ProcessGroup
from preprocess.errors import InvalidInput
from tests.i3d_train.small_shards import noisy_clips, opened, small_run, write_set


@pytest.fixture(scope="module")
def ten_clips(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("ten"), {"train": noisy_clips("train", [0, 1] * 5)})


@pytest.fixture
def data(ten_clips, tmp_path) -> TrainConfig:
    return small_run(ten_clips, tmp_path / "run", model="i3d")


def feed(data: TrainConfig, *, parts: int, group: ProcessGroup = ALONE) -> Feed:
    config = replace(data, accumulate=parts)
    return Feed(config, opened(config, "train"), device=torch.device("cpu"), group=group)


def keys(found: Feed, steps: int) -> list[list[str]]:
    return [[key for batch in found.next_step() for key in batch["key"]] for _ in range(steps)]


def test_a_step_in_parts_has_the_clips_of_a_whole_one(data):
    # ten clips are two steps of four, or five parts of two: the fifth must not begin a step
    assert keys(feed(data, parts=2), 6) == keys(feed(data, parts=1), 6)


def test_a_step_is_cut_into_equal_parts(data):
    assert [len(batch["key"]) for batch in feed(data, parts=2).next_step()] == [2, 2]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_an_epoch_has_whole_steps_only(data, parts):
    found = feed(data, parts=parts)
    assert found.steps_per_epoch == 2
    first, second = keys(found, 2)
    assert not set(first) & set(second)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("done", [0, 1, 2, 3, 4])
def test_state_goes_on_with_the_next_step(data, parts, done):
    first = feed(data, parts=parts)
    keys(first, done)
    second = feed(data, parts=parts)
    second.load_state_dict(first.state_dict())
    assert keys(second, 5) == keys(first, 5)


def test_state_of_a_feed_going_on_is_that_of_one_that_never_stopped(data):
    first = feed(data, parts=2)
    keys(first, 2)
    second = feed(data, parts=2)
    second.load_state_dict(first.state_dict())
    keys(first, 1)
    keys(second, 1)
    assert second.state_dict() == first.state_dict()


def test_processes_share_the_clips_of_a_step(data):
    halves = [feed(data, parts=1, group=ProcessGroup(rank=rank, size=2)) for rank in (0, 1)]
    # four clips for each of the two are eight
    first, second = (keys(half, 1)[0] for half in halves)
    assert len({*first, *second}) == 8


@pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1), (2, 4), (4, 2)])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_state_goes_on_in_other_parts(data, before, now, done):
    first = feed(data, parts=before)
    keys(first, done)
    second = feed(data, parts=now)
    second.load_state_dict(first.state_dict())
    assert keys(second, 5) == keys(first, 5)


@pytest.mark.parametrize("parts", [1, 2])
def test_state_of_other_steps_inside_an_epoch_fails(data, parts):
    first = feed(replace(data, batch_size=5), parts=1)
    first.next_step()
    state = first.state_dict()
    with pytest.raises(InvalidInput, match=r"an epoch of 5 clips a step, now they are 4; use as many processes and"):
        feed(data, parts=parts).load_state_dict(state)


def test_state_of_other_steps_at_the_start_of_an_epoch_goes_on(data):
    first = feed(replace(data, batch_size=5), parts=1)
    keys(first, 2)
    second = feed(data, parts=2)
    second.load_state_dict(first.state_dict())
    assert [key for step in keys(second, 2) for key in step][:5] == keys(first, 1)[0]
