"""Tests of i3d_train.ray_fit; tests/i3d_train/test_cluster.py runs the whole of it."""

import inspect
import logging
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

from i3d_train import ray_fit
from i3d_train.ray_fit import _Fit, _gone, _leaner, _log_here, _PostLog, _StopAsked, _work, reason_of
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


def test_wish_to_stop_is_asked_for_without_waiting():
    answers, arrived = [], []

    def ask():
        answers.append(len(answers))
        return answers[-1]

    ray = SimpleNamespace(
        wait=lambda references, timeout: (arrived if timeout == 0 else references, []), get=lambda answer: answer == 1
    )
    asked = _StopAsked(ray, SimpleNamespace(stop_asked=SimpleNamespace(remote=ask)))
    # one question is under way; the next one follows its answer
    assert (asked(), answers) == (False, [0])
    arrived.append(0)
    assert (asked(), answers) == (False, [0, 1])
    assert (asked(), answers) == (True, [0, 1, 2])


def test_log_of_a_worker_comes_as_text_and_without_that_of_others():
    sent = []
    handler = _PostLog(SimpleNamespace(put=SimpleNamespace(remote=sent.append)))
    for name in ("i3d_train.data", "pipelines", "preprocess.shards", "ray", "i3d_trainer"):
        # an argument that no other process could read
        handler.handle(logging.LogRecord(name, logging.WARNING, "", 1, "%s clips", (lambda: 3,), None))
    assert [record.name for record in sent] == ["i3d_train.data", "pipelines", "preprocess.shards"]
    assert pickle.loads(pickle.dumps(sent[0])).getMessage().endswith(" clips")


def test_what_a_worker_logs_is_shown_from_the_level_here_on(caplog, monkeypatch):
    shown = []
    monkeypatch.setattr(logging.Logger, "handle", lambda self, record: shown.append((self.name, record.levelno)))
    with caplog.at_level(logging.WARNING):
        for level in (logging.INFO, logging.WARNING):
            _log_here(logging.LogRecord("i3d_train.data", level, "", 1, "", None, None))
    assert shown == [("i3d_train.data", logging.WARNING)]


class FakeRay:
    """Whose second node is declared dead after it was asked for its nodes a few times."""

    def __init__(self, *, asked: int):
        self.left = asked

    def nodes(self):
        self.left -= 1
        return [
            {"NodeManagerAddress": name, "NodeID": name * 8, "Alive": name == "a" or self.left > 0} for name in "ab"
        ]


def test_node_is_named_that_is_declared_dead_in_time(monkeypatch):
    monkeypatch.setattr(ray_fit, "POLL_S", 0)
    assert _gone(FakeRay(asked=3), {"a (aaaaaaaa)", "b (bbbbbbbb)"}, patience_s=60) == {"b (bbbbbbbb)"}


def test_nobody_waits_where_a_worker_is_known_to_be_dead():
    assert _gone(FakeRay(asked=3), {"a (aaaaaaaa)", "b (bbbbbbbb)"}, patience_s=0) == set()


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize(("name", "expected"), [("ActorUnavailableError", True), ("ActorDiedError", False)])
def test_worker_that_does_not_answer_may_live(name, expected, is_wrapped):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    from ray import exceptions
    from ray.train import WorkerGroupError

    failure = Exception.__new__(getattr(exceptions, name))
    if is_wrapped:
        # as Ray Train's WorkerHealthCheckFailedError
        failure, inner = OSError("unhealthy"), failure
        failure.health_check_failure = inner

    def fail():
        raise WorkerGroupError("failed", {0: GONE, 1: failure})

    fit = _Fit.__new__(_Fit)
    fit.failure, fit.lost_touch, fit._trainer = "", False, SimpleNamespace(fit=fail)
    fit._run()
    assert fit.lost_touch == expected


@pytest.mark.parametrize(
    ("dashboard", "left"), [("", ["Other"]), ("127.0.0.1:8265", ["PlacementGroupCleanerCallback", "Other"])]
)
def test_actor_for_datasets_is_left_out_and_without_a_dashboard_the_cleaner(monkeypatch, dashboard, left):
    pytest.importorskip("ray")
    monkeypatch.setattr("ray._private.worker.get_dashboard_url", lambda: dashboard)

    class Trainer:
        def _create_default_callbacks(self):
            return [type(name, (), {})() for name in ("PlacementGroupCleanerCallback", "DatasetsCallback", "Other")]

    made = _leaner(Trainer)()._create_default_callbacks()
    assert [type(one).__name__ for one in made] == left


def test_ray_train_still_has_what_is_left_out():
    """Or `_leaner` is to go."""
    train = pytest.importorskip("ray.train.torch", reason="Ray Train is not installed")
    source = inspect.getsource(train.TorchTrainer._create_default_callbacks)
    assert "DatasetsCallback" in source
    assert "PlacementGroupCleanerCallback" in source
