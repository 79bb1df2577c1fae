"""Tests of preprocess.flight; tests/test_two_nodes.py loses a real node."""

from types import SimpleNamespace

import pytest

from preprocess.errors import BadMedia, EnvironmentProblem, WorkerDied
from preprocess.flight import Flight
from preprocess.outcomes import Outcome, outcome_of


class CrashedError(Exception):
    """In place of Ray's WorkerCrashedError."""


class LostError(Exception):
    """In place of Ray's NodeDiedError."""


class TaskError(Exception):
    """In place of Ray's RayTaskError."""

    def __init__(self, cause):
        super().__init__()
        self.cause = cause


class FakeRay:
    """Each try of an item ends as the next of `ends` says."""

    exceptions = SimpleNamespace(
        WorkerCrashedError=CrashedError,
        OutOfMemoryError=CrashedError,
        TaskCancelledError=CrashedError,
        RayTaskError=TaskError,
        NodeDiedError=LostError,
    )

    def __init__(self, ends):
        self._ends = iter(ends)
        self.cancelled = []

    def wait(self, references, num_returns, timeout):
        return references[:num_returns], references[num_returns:]

    def cancel(self, reference, force):
        self.cancelled.append((reference, force))

    def get(self, reference):
        end = next(self._ends)
        if isinstance(end, Exception):
            raise end
        return end


class Reference:
    """To a task, which is called by its item."""

    def __init__(self, item):
        self.task_id = lambda: SimpleNamespace(hex=lambda: item)


def fly(ends):
    """What comes out of one item, how often its node was lost, and how many tries it took."""
    lost, tries, results = [], [], []
    task = SimpleNamespace(remote=lambda item: tries.append(item) or object())
    flight = Flight(FakeRay(ends), task, deadline_s=None, on_lost=lost.append)
    assert not flight.start(None)
    assert flight.start("item")
    while len(flight) or flight.start_again():
        results += [result for _, result in flight.results(flight.wait())]
    (result,) = results
    return result, len(lost), len(tries)


def test_worker_that_dies_costs_one_of_two_tries(caplog):
    assert fly([CrashedError(), "made"]) == ("made", 0, 2)
    assert "trying a task again: its worker process died (CrashedError)" in caplog.text
    result, _, tries = fly([CrashedError(), CrashedError(), "made"])
    assert isinstance(result, WorkerDied)
    assert tries == 2


@pytest.mark.parametrize("count", [1, 4])
def test_node_that_is_lost_costs_no_try(count, caplog):
    assert fly([LostError()] * count + [CrashedError(), "made"]) == ("made", count, count + 2)
    assert caplog.text.count("going on without a node: its worker process died (LostError)") == count


@pytest.mark.parametrize("cause", [BadMedia("of ours"), KeyError("of Python's")])
def test_what_a_task_raises_ends_the_flight_fails(cause):
    with pytest.raises(BadMedia if isinstance(cause, BadMedia) else TaskError):
        fly([TaskError(cause)])


def test_item_whose_nodes_are_lost_again_and_again_is_given_up():
    result, lost, tries = fly([LostError()] * 20)
    assert outcome_of(result) is Outcome.QUARANTINED
    assert (lost, tries) == (5, 7)


def test_only_a_task_that_has_begun_is_late(monkeypatch, caplog):
    clock, ray = [0.0], FakeRay([CrashedError(), CrashedError(), CrashedError()])
    monkeypatch.setattr("preprocess.flight.time", SimpleNamespace(monotonic=lambda: clock[0]))
    flight = Flight(ray, SimpleNamespace(remote=Reference), deadline_s=0.5, on_lost=None)
    for item in ("waits for a worker", "begun"):
        flight.start(item)
    waiting, reference = flight._running
    clock[0] = 100.0
    flight.began({"begun"})
    clock[0] = 100.5
    flight.wait()
    assert ray.cancelled == []
    clock[0] = 101.0
    flight.wait()
    assert flight.wait() == [waiting]
    assert ray.cancelled == [(reference, True)]
    assert list(flight.results([reference])) == []  # for another try, which is as long
    assert flight.start_again()
    flight.wait()
    assert len(ray.cancelled) == 1
    *_, again = flight._running
    flight.began({"begun"})
    clock[0] = 102.0
    flight.wait()
    ((_, result),) = flight.results([again])
    assert str(result) == "its worker process was killed after 0.5 s without an answer"
    list(flight.results([waiting]))
    assert caplog.messages[-1] == "trying a task again: its worker process died (CrashedError)"


def test_worker_that_dies_after_it_handed_its_item_back_costs_nothing(caplog):
    ray = FakeRay(["made"])
    flight = Flight(ray, SimpleNamespace(remote=Reference), deadline_s=None, on_lost=None)
    for item in ("item", "other"):
        flight.start(item)
    finished = flight.wait()
    flight.keep({"item": "GPU 0 does not answer"}, workers=2)
    assert caplog.messages == ["going on without a GPU: GPU 0 does not answer"]
    assert list(flight.results(finished)) == []
    assert (len(flight), flight.kept) == (1, 1)
    flight.start_again()
    other, again = flight._running
    assert list(flight.results([again])) == [("item", "made")]
    flight.cancel()
    assert ray.cancelled == [(other, True), *((one, True) for one in finished)]
    with pytest.raises(EnvironmentProblem, match="no GPU answers any more; the last one, GPU 1 neither; what is fin"):
        flight.keep({"other": "GPU 1 neither"}, workers=2)
