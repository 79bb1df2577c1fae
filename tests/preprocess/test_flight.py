"""Tests of preprocess.flight; tests/test_two_nodes.py loses a real node."""

from types import SimpleNamespace

import pytest

from preprocess.errors import WorkerDied
from preprocess.flight import Flight


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


def fly(ends):
    """What comes out of one item, how often its node was lost, and how many tries it took."""
    lost, tries, results = [], [], []
    task = SimpleNamespace(remote=lambda item: tries.append(item) or object())
    flight = Flight(FakeRay(ends), task, deadline_s=None, on_lost=lost.append)
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
    assert isinstance(result, WorkerDied)
    assert (lost, tries) == (5, 7)
