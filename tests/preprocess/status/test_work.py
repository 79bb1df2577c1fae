import time
from contextlib import suppress

from preprocess.status.work import StageClock, Work


def test_work_adds_up():
    first = Work(seconds={"decode": 1.0, "flow": 2.0}, frames=3, flow_pairs=2, bytes=10)
    second = Work(seconds={"flow": 0.5, "encode": 4.0}, frames=1, bytes=5)
    both = Work(seconds={"decode": 1.0, "flow": 2.5, "encode": 4.0}, frames=4, flow_pairs=2, bytes=15)
    assert first + second == both
    assert first.seconds == {"decode": 1.0, "flow": 2.0}  # not changed by adding


def test_a_stage_counts_each_time_and_when_it_fails():
    clock = StageClock()
    with clock.running("fetch"):
        time.sleep(0.02)
    with suppress(ValueError), clock.running("fetch"):
        time.sleep(0.02)
        raise ValueError
    with clock.running("trim"):
        pass
    assert list(clock.work.seconds) == ["fetch", "trim"]
    assert clock.work.seconds["fetch"] >= 0.04 > clock.work.seconds["trim"]
