from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from preprocess.serve import charts
from preprocess.serve.index.samples import Sample
from preprocess.serve.runs_page import _timeline


@dataclass
class State:
    """As much of a run as its timeline needs."""

    samples: list[Sample]
    view: SimpleNamespace


def at(seconds, done):
    return Sample(at=float(seconds), outcomes={"done": done})


def test_parts_of_a_whole_leave_the_rest_free():
    done, bad = charts.stacked({"done": 3, "bad_media": 1}, whole=16)
    assert (done.x, done.width) == (0, charts.WIDTH * 3 / 16)
    assert (bad.x, bad.width) == (done.width, charts.WIDTH / 16)
    assert bad.title == "bad media: 1"


@pytest.mark.parametrize("whole", [0, 4, 3])
def test_parts_that_are_the_whole_fill_it(whole):
    bars = charts.stacked({"done": 3, "bad_media": 1}, whole=whole)
    assert bars[-1].x + bars[-1].width == charts.WIDTH


@pytest.mark.parametrize(("goes_on", "end"), [(True, 9000.0), (False, 30.0)])
def test_rest_after_the_end_of_a_run_is_not_drawn(goes_on, end):
    samples = [at(10, 1), at(20, 5), at(30, 9), at(9000, 9)]
    assert _timeline(State(samples, SimpleNamespace(goes_on=goes_on))).end == end
