import pytest

from preprocess.annotations import Clip
from preprocess.limiter import Limiter
from preprocess.schedule import ClipQueue, RetryPolicy
from tests.preprocess.test_limiter import Clock


def clip(number):
    return Clip(youtube_id=f"{number:011d}", time_start=0, time_end=10, split="train", label="yoga", line=number)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_queue(clock):
    def make(count, *, per_hour=None, identities=("a",), **policy):
        return ClipQueue(
            [clip(i) for i in range(count)],
            limiter=Limiter(clock=clock),
            identities=identities,
            per_hour=per_hour,
            policy=RetryPolicy(**policy),
            clock=clock,
        )

    return make


def test_clips_come_in_order(make_queue):
    queue = make_queue(3)
    assert [queue.take().clip.line for _ in range(3)] == [0, 1, 2]
    assert queue.take() is None
    assert queue.wait_s() is None


def test_the_limiter_is_asked_for_each(make_queue, clock):
    queue = make_queue(3, per_hour=300, identities=("a", "b"))
    assert [queue.take().identity for _ in range(2)] == ["a", "b"]
    assert queue.take() is None
    assert queue.wait_s() == 12.0
    clock.now += 12
    assert queue.take().clip.line == 2


def test_nothing_is_asked_of_the_limiter_when_no_clip_is_due(make_queue):
    queue = make_queue(1, per_hour=300)
    attempt = queue.take()
    queue.again(attempt, retry_after_s=100.0)
    assert queue.take() is None
    assert queue.wait_s() == 100.0  # not the 12 s of a request that was never sent


def test_a_failed_clip_comes_back_after_its_wait_and_fresh_ones_go_first(make_queue, clock):
    queue = make_queue(2)
    first = queue.take()
    assert queue.again(first, retry_after_s=30.0)
    assert queue.waiting == 1
    assert queue.take().clip.line == 1
    assert queue.take() is None
    clock.now += 30
    again = queue.take()
    assert (again.clip.line, again.number) == (0, 2)


def test_tries_are_bounded(make_queue, clock):
    queue = make_queue(1, tries=3)
    for number in (1, 2):
        attempt = queue.take()
        assert attempt.number == number
        assert queue.again(attempt, retry_after_s=None)
        clock.now += 3600
    assert not queue.again(queue.take(), retry_after_s=None)
    assert queue.wait_s() is None


def test_waits_double_with_full_jitter():
    policy = RetryPolicy(first_s=10.0, longest_s=60.0)
    for tries, bound_s in [(1, 10), (2, 20), (3, 40), (4, 60), (9, 60)]:
        draws = [policy.wait_s(tries, retry_after_s=None) for _ in range(300)]
        assert 0 <= min(draws) < 0.1 * bound_s
        assert 0.9 * bound_s < max(draws) <= bound_s


def test_retry_after_is_a_lower_bound():
    policy = RetryPolicy(first_s=1.0)
    assert policy.wait_s(1, retry_after_s=500.0) == 500.0
