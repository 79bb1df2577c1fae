"""Tests of preprocess.workers.worker_pool: one run after the other in the workers of one Ray."""

import os
import signal
import time
from pathlib import Path

import pytest

from preprocess.config import WorkerConfig
from preprocess.errors import BadShard
from preprocess.workers import InOrder, worker_pool
from tests.preprocess.test_workers import work


@pytest.fixture(scope="module")
def two_workers():
    with worker_pool(WorkerConfig(workers=2)) as pool:
        yield pool


@pytest.fixture
def no_workers():
    with worker_pool(WorkerConfig(workers=0)) as pool:
        yield pool


def kill_the_board_then_tick(item, tick):
    """Kills Ray's process that counts ticks, and ticks."""
    for path in Path("/proc").glob("[0-9]*"):
        parent = int((path / "stat").read_text().rpartition(")")[2].split()[1]) if (path / "stat").exists() else 0
        if parent == os.getppid() and b"ray::_Holder" in (path / "cmdline").read_bytes():
            os.kill(int(path.name), signal.SIGKILL)
    tick(None)
    return item


@pytest.mark.ray
def test_counter_that_is_killed_is_replaced(two_workers):
    ticks = []
    results = dict(two_workers.run(kill_the_board_then_tick, InOrder([1, 2]), on_tick=ticks.append))
    assert results == {1: 1, 2: 2}
    assert ticks


class Growing:
    """Gives 1 and 2, and whatever is added; 2 only some time after 1."""

    def __init__(self):
        self.items = [1, 2]
        self.ready_at = [0.0, time.monotonic() + 0.3]

    def take(self):
        if not self.items or time.monotonic() < self.ready_at[0]:
            return None
        self.ready_at.pop(0)
        return self.items.pop(0)

    def wait_s(self):
        return max(self.ready_at[0] - time.monotonic(), 0.0) if self.items else None

    def add(self, item):
        self.items.append(item)
        self.ready_at.append(0.0)


@pytest.mark.parametrize("workers", ["no_workers", pytest.param("two_workers", marks=pytest.mark.ray)])
def test_supply_may_grow_while_its_results_are_read(workers, request):
    supply, results, polls = Growing(), [], []
    for item, value in request.getfixturevalue(workers).run(work, supply, on_poll=lambda: polls.append(1)):
        results.append((item, value))
        if item == 2:
            supply.add(7)
    assert sorted(results) == [(1, 2), (2, 4), (7, 14)]
    assert polls


def sleep_if_five(item, tick):
    """Never ends for 5."""
    if item == 5:
        time.sleep(600)
    return item


@pytest.mark.ray
def test_a_task_past_its_deadline_is_killed_and_the_others_go_on(two_workers):
    supply = Growing()
    supply.add(5)
    results = dict(two_workers.run(sleep_if_five, supply, deadline_s=2.0))
    assert (results[1], results[2]) == (1, 2)
    assert str(results[5]) == "its worker process was killed after 2 s without an answer"


@pytest.mark.ray
def test_error_of_a_task_ends_the_run(two_workers):
    with pytest.raises(BadShard, match="item 200 is bad"):
        list(two_workers.run(work, InOrder([200])))
