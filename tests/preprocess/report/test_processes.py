import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from pathlib import Path

import cv2
import pytest

from preprocess.errors import BadShard, EnvironmentProblem
from preprocess.report import processes
from preprocess.report.processes import clip_workers
from preprocess.shards import ShardSet
from tests.preprocess.report.shard_sets import clip, write_set

ROOT = Path(__file__).parents[3]

KILLED_AT_WORK = """
import multiprocessing, operator, os, signal, sys
from pathlib import Path
from preprocess.report.processes import clip_workers
from preprocess.shards import ShardSet
with clip_workers(ShardSet(Path(sys.argv[1]), None), workers=2, clips=64) as pool:
    list(pool.each(operator.is_, [0]))
    print(len(multiprocessing.active_children()), "workers", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def bad_at_the_second(_shards, number):
    if number == 1:
        raise BadShard("it is")
    return number


def killed_at_the_third(_shards, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), number, cv2.getNumThreads(), processes._CHUNK


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "CLIPS_A_PROCESS", 2)
    monkeypatch.setattr(processes, "_CHUNK", 2)
    return ShardSet(write_set(tmp_path, {"train": [[clip("a")]]}), None)


@pytest.mark.parametrize(("workers", "clips"), [(1, 99), (99, 3)])
def test_little_work_is_done_in_this_process(shards, workers, clips):
    with clip_workers(shards, workers=workers, clips=clips) as pool:
        assert [seen[:2] for seen in pool.each(killed_at_the_third, [0, 1])] == [(os.getpid(), 0), (os.getpid(), 1)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clip_that_cannot_be_decoded_costs_no_other(shards, workers):
    with clip_workers(shards, workers=workers, clips=4) as pool:
        assert [str(found) for found in pool.each(bad_at_the_second, range(4))] == ["0", "it is", "2", "3"]


def test_workers_have_one_thread_and_nothing_of_this_process(shards):
    with clip_workers(shards, workers=2, clips=4) as pool:
        elsewhere = list(pool.each(killed_at_the_third, [0, 1]))
    assert [seen[1:] for seen in elsewhere] == [(0, 1, 8), (1, 1, 8)]
    assert os.getpid() not in {process for process, *_ in elsewhere}


def test_a_worker_that_is_killed_is_told_even_while_another_starts(shards, monkeypatch):
    start = SpawnProcess.start

    def slowly(process):
        if multiprocessing.active_children():
            time.sleep(1)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", slowly)
    with (
        pytest.raises(EnvironmentProblem, match="killed for its memory"),
        clip_workers(shards, workers=2, clips=4) as pool,
    ):
        list(pool.each(killed_at_the_third, range(2, 6)))


def interrupted(_shards, number):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
    except KeyboardInterrupt:
        return "heard"
    return number


def test_interrupt_is_for_the_parent(shards):
    with clip_workers(shards, workers=2, clips=4) as pool:
        assert list(pool.each(interrupted, range(4))) == [0, 1, 2, 3]


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    folder = write_set(tmp_path, {"train": [[clip("a")]]})
    command = [sys.executable, "-c", KILLED_AT_WORK, folder]
    # the workers have its standard output too: that ends with the last of them
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, env=environment, check=False)
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, b"2 workers\n")


def test_block_that_ends_while_workers_start_leaves_none_and_no_word(shards, capfd):
    with pytest.raises(KeyError), clip_workers(shards, workers=2, clips=4):
        raise KeyError
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


def test_an_error_of_the_block_ends_the_work(shards, monkeypatch):
    seen = []

    def in_threads(workers, **_):
        return ThreadPoolExecutor(workers)

    def work(_shards, number):
        time.sleep(0.02)
        seen.append(number)

    def stopped():
        with clip_workers(shards, workers=2, clips=40) as pool:
            results = pool.each(work, range(40))
            next(results)
            raise KeyError

    monkeypatch.setattr(processes, "ProcessPoolExecutor", in_threads)
    monkeypatch.setattr(processes, "_shards", shards)
    with pytest.raises(KeyError):
        stopped()
    assert len(seen) < 40
