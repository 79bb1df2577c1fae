"""What others see of a flow run while it goes and when it is stopped."""

from contextlib import contextmanager

import pytest

from preprocess import sharding
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.sharding import make_shards
from preprocess.status.flow_status import FlowStatus
from preprocess.status.run_status import Status
from preprocess.workers import WorkerPool
from tests.preprocess.conftest import textured_frames, write_video


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    for number in range(3):
        write_video(folder / f"clip_{number}.mp4", textured_frames(5, seed=number))
    return tmp_path / "clips"


def run(clips, out):
    config = FlowConfig(short_side=48, clips_per_shard=2)
    return make_shards(clips, out, config=config, workers=WorkerConfig(workers=0))


def test_status_is_published_while_no_clip_is_through(clips, tmp_path, monkeypatch):
    times, run_of_pool = [], WorkerPool.run

    def polled(pool, *arguments, on_poll, **options):
        for _ in range(3):
            on_poll()
            times.append(Status.read(tmp_path / "shards").updated)
        return run_of_pool(pool, *arguments, on_poll=on_poll, **options)

    monkeypatch.setattr(WorkerPool, "run", polled)
    monkeypatch.setattr("preprocess.status.run_status.PUBLISH_EVERY_S", 0.0)
    run(clips, tmp_path / "shards")
    assert sorted(set(times)) == times


def test_workers_have_ended_when_the_folder_is_given_up(clips, tmp_path, monkeypatch):
    events, held, shards_of_workers = [], sharding.exclusive, sharding.run_shards

    def run_shards(*arguments, **options):
        try:
            yield from shards_of_workers(*arguments, **options)
        finally:
            events.append("workers ended")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    @contextmanager
    def exclusive(folder):
        with held(folder):
            try:
                yield
            finally:
                events.append("given up")

    monkeypatch.setattr(sharding, "exclusive", exclusive)
    monkeypatch.setattr(sharding, "run_shards", run_shards)
    monkeypatch.setattr(FlowStatus, "count_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(clips, tmp_path / "shards")
    assert events == ["workers ended", "given up"]
