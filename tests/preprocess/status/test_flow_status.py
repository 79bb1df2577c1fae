import pytest

from preprocess.clips import ClipFile
from preprocess.config import FlowConfig
from preprocess.outcomes import Outcome
from preprocess.plan import make_plan
from preprocess.status.flow_status import FinishedClip, FlowStatus
from preprocess.status.run_status import RunState, ShardCount, Status
from preprocess.status.work import Work
from preprocess.trials import KILLED_REASON

WORK = Work(seconds={"decode": 1.0, "flow": 2.0, "encode": 0.5}, frames=10, flow_pairs=9)


def clip_file(number):
    values = {"time_start": 0.0, "time_end": 1.0, "duration_s": 1.0, "height": 48, "width": 64, "fingerprint": "x"}
    return ClipFile(key=f"clip_{number}", path=f"{number}.mp4", split="train", label="yoga", **values)


@pytest.fixture
def plan():
    """Three shards of two clips."""
    config = FlowConfig(short_side=48, clips_per_shard=2)
    return make_plan([clip_file(number) for number in range(6)], config=config, backend="cpu")


def through(shard, number, *, outcome=Outcome.DONE):
    return FinishedClip(shard=shard.name, key=f"clip_{number}", outcome=outcome, work=WORK)


def start(folder, plan, *, finished=None, **options):
    return FlowStatus(folder, plan=plan, finished=finished or {}, **options)


def test_a_run_from_its_beginning_to_its_end(tmp_path, plan):
    steps = []
    status = start(tmp_path, plan, on_progress=steps.append)
    with status.published():
        begun = Status.read(tmp_path)
        for index, shard in enumerate(plan.shards):
            status.count(through(shard, 2 * index))
            status.count(through(shard, 2 * index + 1, outcome=Outcome.BAD_MEDIA if index else Outcome.DONE))
            status.count_shard(shard, size=100)
    ended = Status.read(tmp_path)
    assert (begun.command, begun.state, begun.total, begun.finished) == ("flow", RunState.RUNNING, 6, 0)
    assert (ended.state, ended.finished, ended.outcomes) == (RunState.FINISHED, 6, {"done": 4, "bad_media": 2})
    assert ended.shards == ShardCount(total=3, already=0, made=3)
    assert (ended.work.frames, ended.work.flow_pairs, ended.work.bytes) == (60, 54, 300)
    assert ended.work.seconds == {"decode": 6.0, "flow": 12.0, "encode": 3.0}
    assert steps == [6] * 6


def test_what_was_there_is_counted_apart(tmp_path, plan):
    first, _, third = plan.shards
    finished = {first.name: {}, third.name: {"clip_4": KILLED_REASON, "clip_5": "clip_5: not a video file"}}
    with start(tmp_path, plan, finished=finished).published():
        status = Status.read(tmp_path)
    assert (status.total, status.already) == (2, {"done": 2, "quarantined": 1, "bad_media": 1})
    assert status.shards == ShardCount(total=3, already=2, made=0)


def test_what_has_to_be_checked_counts_when_that_is_done(tmp_path, plan):
    first, second, third = plan.shards
    status = start(tmp_path, plan, unchecked=[second.name, third.name])
    with status.published():
        begun = Status.read(tmp_path)
        status.count_shard(second, size=100, failed={"clip_2": "clip_2: not a video file"}, kept=True)
        status.count(through(third, 4))  # so it was not sound
        status.count(through(third, 5))
        status.count_shard(third, size=100)
        for number in (0, 1):
            status.count(through(first, number))
        status.count_shard(first, size=100)
    ended = Status.read(tmp_path)
    assert (begun.total, begun.already, begun.shards) == (2, {}, ShardCount(total=3, already=0, made=0))
    assert (ended.total, ended.outcomes, ended.already) == (4, {"done": 4}, {"bad_media": 1, "done": 1})
    assert ended.shards == ShardCount(total=3, already=1, made=2)
    assert ended.work.bytes == 200


def test_a_shard_that_is_made_again_without_a_clip_is_counted(tmp_path, plan):
    shard, status = plan.shards[0], start(tmp_path, plan, unchecked=[shard.name for shard in plan.shards])
    with status.published():
        status.count_shard(shard, size=100, failed=dict.fromkeys(["clip_0", "clip_1"], KILLED_REASON))
    assert (Status.read(tmp_path).total, Status.read(tmp_path).outcomes) == (2, {"quarantined": 2})


def test_a_shard_that_is_begun_again_counts_its_clips_once_and_its_work_twice(tmp_path, plan):
    shard, status = plan.shards[0], start(tmp_path, plan)
    with status.published():
        for number in (0, 0, 1):
            status.count(through(shard, number))
        status.count_shard(shard, size=100)
    ended = Status.read(tmp_path)
    assert (ended.finished, ended.work.frames) == (2, 30)


def test_a_clip_that_kills_workers_is_quarantined_when_its_shard_is_there(tmp_path, plan):
    shard, status = plan.shards[0], start(tmp_path, plan)
    with status.published():
        status.count(through(shard, 0))
        status.count_shard(shard, size=100, failed={"clip_1": KILLED_REASON})
    assert Status.read(tmp_path).outcomes == {"done": 1, "quarantined": 1}


def test_an_error_is_a_stop(tmp_path, plan):
    with pytest.raises(OSError, match="disk full"), start(tmp_path, plan).published():
        raise OSError("disk full")
    assert Status.read(tmp_path).state is RunState.STOPPED
