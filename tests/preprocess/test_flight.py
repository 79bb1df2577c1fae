"""Tests of preprocess.flight; tests/test_two_nodes.py loses a real node."""

from types import SimpleNamespace

import pytest

from preprocess.errors import WorkerDied
from preprocess.flight import Flight
from preprocess.outcomes import Outcome, outcome_of


class CrashedError(Exception):
    """In place of Ray's WorkerCrashedError."""


class LostError(Exception):
    """In place of Ray's NodeDiedError."""


class FakeRay:
    """Each try of an item ends as the next of `ends` says."""

    exceptions = SimpleNamespace(
        WorkerCrashedError=CrashedError,
        OutOfMemoryError=CrashedError,
        TaskCancelledError=CrashedError,
        RayTaskError=KeyError,
        NodeDiedError=LostError,
    )

    def __init__(self, ends):
        self._ends = iter(ends)

    def wait(self, references, num_returns, timeout):
        return references[:num_returns], references[num_returns:]

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
    flight.start("item")
    while len(flight) or flight.start_again():
        results += [result for _, result in flight.results(flight.wait())]
    (result,) = results
    return result, len(lost), len(tries)


def test_worker_that_dies_costs_one_of_two_tries():
    assert fly([CrashedError(), "made"]) == ("made", 0, 2)
    result, _, tries = fly([CrashedError(), CrashedError(), "made"])
    assert isinstance(result, WorkerDied)
    assert tries == 2


@pytest.mark.parametrize("count", [1, 4])
def test_node_that_is_lost_costs_no_try(count):
    assert fly([LostError()] * count + [CrashedError(), "made"]) == ("made", count, count + 2)


def test_item_whose_nodes_are_lost_again_and_again_is_given_up():
    result, lost, tries = fly([LostError()] * 20)
    assert outcome_of(result) is Outcome.QUARANTINED
    assert (lost, tries) == (5, 7)


def test_only_a_task_that_has_begun_is_late(monkeypatch):
    clock, cancelled, ray = [0.0], [], FakeRay([CrashedError(), CrashedError()])
    monkeypatch.setattr("preprocess.flight.time", SimpleNamespace(monotonic=lambda: clock[0]))
    ray.cancel = lambda reference, force: cancelled.append(reference)
    flight = Flight(ray, SimpleNamespace(remote=Reference), deadline_s=10.0, on_lost=None)
    for item in ("waits for a worker", "begun"):
        flight.start(item)
    _, reference = flight._running
    clock[0] = 100.0
    flight.began({"begun"})
    clock[0] = 110.0
    flight.wait()
    assert cancelled == []
    clock[0] = 110.5
    flight.wait()
    flight.wait()
    assert cancelled == [reference]
    assert list(flight.results(cancelled)) == []  # for another try, which is as long
    flight.start_again()
    flight.wait()
    assert cancelled == [reference]
    *_, again = flight._running
    flight.began({"begun"})
    clock[0] = 121.0
    flight.wait()
    ((_, result),) = flight.results([again])
    assert str(result) == "its worker process was killed after 10 s without an answer"


def test_worker_that_dies_after_it_handed_its_item_back_costs_nothing():
    flight = Flight(FakeRay(["made"]), SimpleNamespace(remote=Reference), deadline_s=None, on_lost=None)
    flight.start("item")
    finished = flight.wait()
    flight.keep({"item": "GPU 0 does not answer"}, workers=2)
    assert list(flight.results(finished)) == []
    assert (len(flight), flight.kept) == (0, 1)
    flight.start_again()
    assert list(flight.results(flight.wait())) == [("item", "made")]
