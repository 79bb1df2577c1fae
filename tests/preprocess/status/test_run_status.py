import json
import subprocess
import sys
import time
import tracemalloc

import pytest

from preprocess.errors import InvalidInput
from preprocess.limiter import Pause
from preprocess.status.run_status import PUBLISH_EVERY_S, STATUS_NAME, RunState, RunStatus, ShardCount, Status
from preprocess.status.work import Work


class Clock:
    """Goes on only when told to."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def start(folder, clock, *, total=1000, already=None):
    return RunStatus(folder, command="download", total=total, already=already or {}, clock=clock)


def work(run, clock, *, seconds, per_s):
    for _ in range(seconds):
        clock.now += 1
        for _ in range(per_s):
            run.count("done")


def test_published_is_what_happened(tmp_path, clock):
    run = start(tmp_path, clock, already={"done": 7})
    clock.now += 10
    run.count("done", source="youtube")
    run.count("unavailable", source="youtube")
    pause = Pause(identity="youtube", until=clock.now + 60, reason="429")
    run.publish(state="running", pauses=[pause], waiting=3)
    status = Status.read(tmp_path)
    assert (status.state, status.command, status.started, status.updated) == (
        RunState.RUNNING,
        "download",
        1_000_000.0,
        1_000_010.0,
    )
    assert (status.total, status.finished, status.waiting, status.already) == (1000, 2, 3, {"done": 7})
    assert status.outcomes == status.sources["youtube"] == {"done": 1, "unavailable": 1}
    assert status.pauses == (pause,)
    assert status.rate_overall_per_s == pytest.approx(0.2)
    assert (status.work, status.shards) == (Work(), None)


def test_published_is_what_was_worked(tmp_path, clock):
    shards = ShardCount(total=5, already=1, made=0)
    run = RunStatus(tmp_path, command="flow", total=9, already={}, shards=shards, clock=clock)
    for _ in range(2):
        run.spend(Work(seconds={"flow": 1.5}, frames=10, flow_pairs=9))
    run.count_shard(size=4000)
    run.publish(state="running")
    status = Status.read(tmp_path)
    assert status.work == Work(seconds={"flow": 3.0}, frames=20, flow_pairs=18, bytes=4000)
    assert status.shards == ShardCount(total=5, already=1, made=1)


def test_published_at_most_every_two_seconds(tmp_path, clock):
    run = start(tmp_path, clock)
    seen = []
    for _ in range(40):
        run.publish(state="running")
        seen.append(Status.read(tmp_path).updated)
        clock.now += 0.25
    assert sorted(set(seen)) == [1_000_000.0 + second for second in (0, 2, 4, 6, 8)]


def test_published_at_once_when_the_state_is_new(tmp_path, clock):
    run = start(tmp_path, clock)
    run.publish(state="running")
    clock.now += 0.1
    run.publish(state="finished")
    assert Status.read(tmp_path).updated == clock.now


def test_clock_set_back_does_not_silence_the_run(tmp_path, clock):
    run = start(tmp_path, clock)
    run.publish(state="running")
    clock.now -= 3600
    run.publish(state="running")
    assert Status.read(tmp_path).updated == clock.now


def test_rate_is_of_the_last_five_minutes(tmp_path, clock):
    run = start(tmp_path, clock, total=10_000)
    work(run, clock, seconds=600, per_s=10)
    work(run, clock, seconds=300, per_s=2)
    assert run.rate_per_s == pytest.approx(2, rel=0.05)
    run.publish(state="running")
    assert Status.read(tmp_path).rate_overall_per_s == pytest.approx(6600 / 900)


def test_rate_and_end_are_unknown_at_first(tmp_path, clock):
    run = start(tmp_path, clock)
    clock.now += 4
    run.count("done")
    assert run.rate_per_s is None
    assert run.eta_s is None


def test_end_goes_by_the_rate(tmp_path, clock):
    run = start(tmp_path, clock, total=1000)
    work(run, clock, seconds=100, per_s=4)
    assert run.eta_s == pytest.approx(600 / 4, rel=0.05)


def test_end_is_unknown_when_nothing_gets_done(tmp_path, clock):
    run = start(tmp_path, clock)
    run.publish(state="running")
    clock.now += 60
    run.publish(state="running")
    assert run.eta_s is None


def test_a_pause_is_added_to_the_end_and_does_not_spoil_the_rate(tmp_path, clock):
    run = start(tmp_path, clock, total=1000)
    work(run, clock, seconds=100, per_s=4)
    pauses = [
        Pause(identity="youtube", until=clock.now + 3600, reason="bot wall"),
        Pause(identity="proxy", until=clock.now + 7200, reason="bot wall"),
    ]
    run.publish(state="paused", pauses=pauses)
    for left_s in (3600, 1800, 10):
        clock.now = pauses[0].until - left_s
        run.publish(state="paused", pauses=pauses)
        assert Status.read(tmp_path).eta_s == pytest.approx(600 / 4 + left_s, rel=0.05)
    clock.now = pauses[0].until
    run.publish(state="running")
    work(run, clock, seconds=50, per_s=4)
    assert run.rate_per_s == pytest.approx(4, rel=0.05)


def test_end_of_an_ended_run(tmp_path, clock):
    run = start(tmp_path, clock, total=1000)
    work(run, clock, seconds=100, per_s=4)
    run.publish(state="stopped")
    assert run.eta_s is None
    work(run, clock, seconds=100, per_s=6)
    assert run.eta_s == 0


def test_end_is_unknown_while_only_old_shards_are_left_to_be_checked(tmp_path, clock):
    shards = ShardCount(total=2, already=0, made=0)
    run = RunStatus(tmp_path, command="flow", total=10, already={}, shards=shards, clock=clock)
    work(run, clock, seconds=10, per_s=1)
    run.count_shard(size=100)
    assert run.eta_s is None
    run.count_kept_shard({"done": 5})
    assert run.eta_s == 0


def test_days_take_no_more_memory_than_minutes(tmp_path, clock):
    run = start(tmp_path, clock, total=10**6)
    work(run, clock, seconds=600, per_s=1)
    tracemalloc.start()
    for _ in range(3 * 86_400 // 5):
        clock.now += 5
        run.count("done", source="youtube")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000
    assert run.rate_per_s == pytest.approx(0.2, rel=0.05)


def test_unknown_state_fails(tmp_path, clock):
    with pytest.raises(ValueError, match="'asleep' is not a valid RunState"):
        start(tmp_path, clock).publish(state="asleep")


def test_a_disk_that_refuses_costs_the_run_nothing_and_is_said_once(tmp_path, clock, caplog):
    run = start(tmp_path / "gone", clock)
    for _ in range(2):
        run.publish(state="running")
        clock.now += PUBLISH_EVERY_S
    assert caplog.text.count("cannot write") == 1
    (tmp_path / "gone").mkdir()
    run.publish(state="running")
    assert Status.read(tmp_path / "gone").state == "running"


PUBLISHER = """
import sys
from itertools import count
from pathlib import Path
from preprocess.status.run_status import PUBLISH_EVERY_S, RunStatus
already = {f"outcome {n}": n for n in range(3000)}
clock = count(step=PUBLISH_EVERY_S).__next__
run = RunStatus(Path(sys.argv[1]), command="download", total=10**6, already=already, clock=clock)
while True:
    run.publish(state="running")
"""


def test_a_kill_at_any_time_leaves_a_whole_status(tmp_path):
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path)]) as publisher:
            while not (tmp_path / STATUS_NAME).exists():
                time.sleep(0.01)
            for _ in range(20):
                assert len(Status.read(tmp_path).already) == 3000
            publisher.kill()
        assert len(Status.read(tmp_path).already) == 3000
        assert len(list(tmp_path.iterdir())) <= 2  # kills do not add up
    RunStatus(tmp_path, command="download", total=0, already={}).publish(state=RunState.FINISHED)
    assert [path.name for path in tmp_path.iterdir()] == [STATUS_NAME]


def test_no_status_is_none(tmp_path):
    assert Status.read(tmp_path) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 1}, "is no status of this version"),
        ({"state": "asleep"}, "state should be RunState, it is 'asleep'"),
        ({"pid": True}, "pid should be int, it is True"),
        ({"total": 1.5}, "total should be int"),
        ({"started": float("inf")}, "started should be float"),
        ({"updated": 1e12}, "holds a time that no calendar has"),
        ({"pauses": [{"identity": "youtube"}]}, r"pauses\[0\] lacks reason, until"),
        ({"outcomes": {"done": "1"}}, r"outcomes\.done should be int"),
        ({"outcomes": []}, "outcomes should be dict"),
        ({"work": {"seconds": {}, "frames": 1 << 64, "flow_pairs": 0, "bytes": 0}}, r"work\.frames should be int"),
        ({"shards": {"total": 1}}, r"shards lacks already, made"),
    ],
)
def test_damaged_status_fails(tmp_path, clock, fields, message):
    start(tmp_path, clock).publish(state="running")
    path = tmp_path / STATUS_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(InvalidInput, match=message):
        Status.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_status_that_is_no_json_object_fails(tmp_path, content):
    (tmp_path / STATUS_NAME).write_bytes(content)
    with pytest.raises(InvalidInput, match="the next run replaces it"):
        Status.read(tmp_path)
