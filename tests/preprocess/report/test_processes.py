import os
import signal

import pytest

from preprocess.errors import EnvironmentProblem
from preprocess.report import processes
from preprocess.report.processes import clip_workers
from preprocess.shards import ShardSet
from tests.preprocess.report.shard_sets import clip, write_set


def killed_at_the_third(_shards, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), number


def test_a_worker_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "CLIPS_A_PROCESS", 1)
    monkeypatch.setattr(processes, "_CHUNK", 2)
    shards = ShardSet(write_set(tmp_path, {"train": [[clip("a")]]}), None)
    with clip_workers(shards, workers=1, clips=99) as pool:
        assert list(pool.each(killed_at_the_third, [0, 1])) == [(os.getpid(), 0), (os.getpid(), 1)]
    with clip_workers(shards, workers=2, clips=99) as pool:
        elsewhere = list(pool.each(killed_at_the_third, [0, 1]))
        assert [number for _, number in elsewhere] == [0, 1]
        assert os.getpid() not in {process for process, _ in elsewhere}
        with pytest.raises(EnvironmentProblem, match="ended without an answer: killed for its memory"):
            list(pool.each(killed_at_the_third, range(6)))
