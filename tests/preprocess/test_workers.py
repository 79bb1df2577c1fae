import os
import signal

import pytest

from preprocess.config import WorkerConfig
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput, WorkerDied
from preprocess.workers import run_tasks


def work(item, tick):
    """Double the item; odd items report two parts, 100 kills its worker, 200 raises."""
    if item == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 200:
        raise BadShard("item 200 is bad")
    for _ in range(item % 2 * 2):
        tick()
    return item * 2


def test_in_this_process_without_workers():
    ticks = []
    results = dict(run_tasks(work, [1, 2, 3], config=WorkerConfig(workers=0), on_tick=lambda: ticks.append(1)))
    assert results == {1: 2, 2: 4, 3: 6}
    assert len(ticks) == 4


def test_no_items_start_nothing(monkeypatch):
    import preprocess.workers

    monkeypatch.setattr(preprocess.workers, "_ray", None)
    assert list(run_tasks(work, [], config=WorkerConfig(workers=2))) == []


@pytest.mark.ray
def test_workers_report_results_and_parts_and_a_killer_costs_itself_only():
    ticks = []
    config = WorkerConfig(workers=2)
    results = dict(run_tasks(work, [1, 100, 2, 3], config=config, on_tick=lambda: ticks.append(1)))
    assert isinstance(results.pop(100), WorkerDied)
    assert results == {1: 2, 2: 4, 3: 6}
    assert len(ticks) == 4


@pytest.mark.ray
def test_error_of_a_task_ends_the_run():
    with pytest.raises(BadShard, match="item 200 is bad"):
        list(run_tasks(work, [200], config=WorkerConfig(workers=1)))


@pytest.mark.ray
def test_cluster_that_is_not_there_fails():
    with pytest.raises(EnvironmentProblem, match=r"cannot start or reach the Ray cluster at 127\.0\.0\.1:9"):
        list(run_tasks(work, [1], config=WorkerConfig(workers=1, address="127.0.0.1:9")))


@pytest.mark.ray
def test_gpus_that_the_cluster_lacks_fail_at_once(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    with pytest.raises(EnvironmentProblem, match="2 GPUs were asked for, the Ray cluster has 1"):
        list(run_tasks(work, [1], config=WorkerConfig(workers=2, gpus=2)))


def test_gpu_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert [WorkerConfig.on_gpus(gpus).helpers for gpus in (1, 2, 4, 16)] == [8, 7, 3, 1]


def test_config_fails():
    with pytest.raises(InvalidInput, match="workers must be at least 0, got -1"):
        WorkerConfig(workers=-1)
    with pytest.raises(InvalidInput, match="needs at least 1 worker"):
        WorkerConfig(workers=0, address="auto")
    with pytest.raises(InvalidInput, match="2 GPUs need as many workers, got 1"):
        WorkerConfig(workers=1, gpus=2)
