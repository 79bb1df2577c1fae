import time
from inspect import signature

import pytest

from preprocess.errors import Cause
from preprocess.limiter import LONGEST_PAUSE_S, WALLS_IN_A_ROW, Limiter

PAUSE_S = 60.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return Limiter(clock=clock)


def wall(limiter, identity="a", *, retry_after_s=None):
    limiter.report(identity, cause=Cause.BOT_WALL, pause_s=PAUSE_S, reason="not a bot?", retry_after_s=retry_after_s)


def success(limiter, identity="a"):
    limiter.report(identity, cause=None, pause_s=PAUSE_S)


def test_requests_are_evenly_spaced(limiter, clock):
    taken = []
    for _ in range(100):
        if limiter.take(["a"], per_hour=300):
            taken.append(clock.now)
        clock.now += 1
    assert taken == [1000.0 + 12 * i for i in range(9)]


def test_without_a_rate_all_may(limiter):
    assert [limiter.take(["a"], per_hour=None) for _ in range(5)] == ["a"] * 5


def test_by_default_it_has_a_clock_that_nobody_sets_back():
    assert signature(Limiter).parameters["clock"].default is time.monotonic


def test_each_identity_has_its_own_rate_and_they_take_turns(limiter, clock):
    names = ["a", "b", "c"]
    assert [limiter.take(names, per_hour=300) for _ in range(4)] == ["a", "b", "c", None]
    assert limiter.wait_s(names) == 12.0
    clock.now += 12
    assert [limiter.take(names, per_hour=300) for _ in range(4)] == ["a", "b", "c", None]


def test_the_identity_that_waited_longest_is_next(limiter, clock):
    limiter.take(["a"], per_hour=300)
    clock.now += 5
    limiter.take(["b"], per_hour=300)
    assert limiter.wait_s(["b", "a"]) == 7.0
    clock.now += 100
    assert limiter.take(["b", "a"], per_hour=300) == "a"


def test_a_row_of_walls_pauses(limiter, clock):
    for _ in range(WALLS_IN_A_ROW - 1):
        wall(limiter)
        assert limiter.take(["a"], per_hour=None) == "a"
    wall(limiter)
    assert limiter.take(["a"], per_hour=None) is None
    (pause,) = limiter.pauses(["a"])
    assert (pause.identity, pause.reason) == ("a", "not a bot?")
    assert pause.until == pytest.approx(time.time() + PAUSE_S, abs=30)
    assert limiter.pauses(["a"]) == [pause]
    assert limiter.wait_s(["a"]) == PAUSE_S


def test_an_answer_between_ends_the_row(limiter):
    for _ in range(3):
        for _ in range(WALLS_IN_A_ROW - 1):
            wall(limiter)
        success(limiter)
    assert limiter.pauses(["a"]) == []


def test_a_dead_video_is_an_answer(limiter):
    wall(limiter)
    wall(limiter)
    limiter.report("a", cause=Cause.TIMEOUT, pause_s=PAUSE_S)
    wall(limiter)
    assert limiter.pauses(["a"]) == []


def test_after_a_pause_one_request_goes_out_to_see(limiter, clock):
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter)
    clock.now += PAUSE_S
    assert limiter.take(["a"], per_hour=None) == "a"
    assert limiter.take(["a"], per_hour=None) is None
    success(limiter)
    assert [limiter.take(["a"], per_hour=None) for _ in range(3)] == ["a"] * 3


def test_pauses_grow_to_an_hour_while_walls_go_on(limiter, clock):
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter)
    lengths = []
    for _ in range(8):
        lengths.append(limiter.wait_s(["a"]))
        clock.now += lengths[-1]
        limiter.take(["a"], per_hour=None)
        wall(limiter)
    assert lengths == [60, 120, 240, 480, 960, 1920, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_lost_probe_does_not_stop_the_source_for_ever(limiter, clock):
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter)
    clock.now += PAUSE_S
    limiter.take(["a"], per_hour=None)
    clock.now += 3600
    assert limiter.take(["a"], per_hour=None) == "a"


def test_retry_after_is_heeded_at_once_and_exactly(limiter, clock):
    wall(limiter, retry_after_s=7.0)
    assert limiter.wait_s(["a"]) == 7.0


def test_source_that_asks_for_no_wait_is_left_alone_after_a_row_of_walls(limiter, clock):
    lengths = []
    for _ in range(1100):  # 2 to so many is a number that no float holds
        clock.now += limiter.wait_s(["a"])
        limiter.take(["a"], per_hour=None)
        wall(limiter, retry_after_s=0.0)
        lengths.append(limiter.wait_s(["a"]))
    assert lengths[:3] == [0.0, 120.0, 240.0]
    assert lengths[-1] == LONGEST_PAUSE_S


def test_answers_from_before_a_pause_neither_end_nor_stretch_it(limiter, clock):
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter)
    success(limiter)
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter)
    assert limiter.wait_s(["a"]) == PAUSE_S
    clock.now += PAUSE_S
    assert [limiter.take(["a"], per_hour=None) for _ in range(2)] == ["a", None]


def test_other_identities_go_on(limiter):
    for _ in range(WALLS_IN_A_ROW):
        wall(limiter, "a")
    assert [limiter.take(["a", "b"], per_hour=None) for _ in range(2)] == ["b", "b"]


def test_time_behind_walls_is_counted_from_the_first(limiter, clock):
    assert limiter.walled(["a"]) == (0.0, "")
    wall(limiter)
    clock.now += 500
    wall(limiter)
    assert limiter.walled(["a"]) == (500.0, "not a bot?")
    assert limiter.walled(["a", "b"]) == (0.0, "")  # b may still have luck
    wall(limiter, "b")
    clock.now += 20
    assert limiter.walled(["a", "b"]) == (20.0, "not a bot?")
    success(limiter)
    assert limiter.walled(["a"]) == (0.0, "")
