"""Tests of i3d_train.ray_fit; tests/i3d_train/test_cluster.py runs the whole of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from i3d_train.ray_fit import _work, reason_of
from preprocess.errors import InvalidInput

GONE = RuntimeError("Connection closed by peer")
"""What Gloo says in the workers that are left."""


class FailedError(Exception):
    """In place of Ray Train's WorkerGroupError."""

    def __init__(self, *failures):
        super().__init__("Training failed:\nTraceback\nRuntimeError: Connection closed by peer\n")
        self.worker_failures = dict(enumerate(failures))


@pytest.mark.parametrize(
    "failures", [(GONE, OSError("unhealthy\nthe node is dead")), (OSError("the node is dead"), GONE)]
)
def test_reason_is_the_death_and_not_who_misses_the_dead(failures):
    assert reason_of(FailedError(*failures)).endswith("the node is dead")


def test_reason_of_workers_that_only_miss_each_other():
    assert reason_of(FailedError(GONE)) == "RuntimeError: Connection closed by peer"


def test_reason_of_what_is_itself_such_an_error():
    assert reason_of(GONE) == "RuntimeError: Connection closed by peer"


def test_reason_is_short():
    assert len(reason_of(FailedError(OSError("because " * 100)))) <= 300


@pytest.mark.parametrize("rank", [0, 1])
def test_error_of_any_worker_is_sent(config, monkeypatch, rank):
    pytest.importorskip("ray")
    sent = []
    mailbox = SimpleNamespace(put=SimpleNamespace(remote=sent.append), stop_asked=SimpleNamespace(remote=lambda: False))
    monkeypatch.setattr("ray.get", lambda reference: reference)
    monkeypatch.setenv("RANK", str(rank))
    with pytest.raises(InvalidInput, match=r"crop 41 is larger"):
        _work({"config": replace(config, crop=41), "mailbox": mailbox})
    assert [type(letter) for letter in sent] == [InvalidInput]
