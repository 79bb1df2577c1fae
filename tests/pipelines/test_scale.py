"""The index and the plan at the size of Kinetics-700: 650,000 clips in 10,157 shards, made up in memory."""

import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.feed_config import FeedConfig
from pipelines.resume import ResumePoint
from pipelines.sampling import Sampler, Share
from preprocess.shards import ClipTable, Index, ShardAttributes, ShardInfo, ShardSet
from preprocess.shards.head import ShardHead
from preprocess.shards.layout import COLUMNS
from preprocess.shards.store import FolderStore, SetTable, gather

CLIPS, CLASSES, PER_SHARD = 650_000, 700, 64
BOUND = 200_000_000
"""Bytes that the index may take."""


class MadeUp(FolderStore):
    """A store whose shards have heads and nothing else."""

    name, keeps_open = "made up", 1

    def __init__(self) -> None:
        self._attributes = ShardAttributes(labels=tuple(f"class {n}" for n in range(CLASSES)))

    def index(self) -> Index:
        count = -(-CLIPS // PER_SHARD)
        shards = [
            ShardInfo(
                name=f"train-{number:05d}-of-{count:05d}.h5",
                bytes=500_000_000 + number,
                sha256=f"{number:064x}",
                clips=min(PER_SHARD, CLIPS - number * PER_SHARD),
            )
            for number in range(count)
        ]
        return Index(config={}, labels=self._attributes.labels, shards=tuple(shards))

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        return gather(infos, map(self._made, infos), source=lambda info: info.name, skip_bad=skip_bad)

    def _made(self, info: ShardInfo) -> ShardHead:
        number, clips = int(info.name[6:11]), info.clips
        columns = {name: np.zeros(clips, kind) for name, kind in COLUMNS.items() if kind != "S"}
        columns["key"] = np.array([f"abcdefghijk_{number:06d}_{n:06d}".encode() for n in range(clips)])
        columns["label"] += (np.arange(clips) + number * PER_SHARD) % CLASSES
        columns["rgb_count"] += 250
        columns["flow_count"] += 249
        columns["height"] += 256
        columns["width"] += 340
        return ShardHead(attributes=self._attributes, clips=ClipTable(**columns), places=np.ones((2, 4), np.int64))


@pytest.fixture(scope="module")
def measured():
    """The shards and the plan of an eighth of the clips in each step, and the bytes that they take."""
    tracemalloc.start()
    shards = ShardSet(MadeUp(), None)
    sampler = Sampler(shards.clips, FeedConfig(batch_size=32, num_shards=8, shard_id=5), shard=shards.shard_of_clip)
    resume = ResumePoint(shards, sampler, shares=[Share(name="all", clips=CLIPS, weight=1.0)])
    sampler.batch(0, 0)
    sampler.batch(1, 0)
    state = resume.state(epoch=1, batch=7)
    taken, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return shards, sampler, resume, state, taken, peak


def test_index_fits_in_memory(measured):
    shards, *_, taken, peak = measured
    assert len(shards) == CLIPS
    print(f"\n{taken / 1e6:.0f} MB, {taken / CLIPS:.0f} bytes a clip, at most {peak / 1e6:.0f} MB")
    assert taken < BOUND
    assert peak < BOUND


def test_an_epoch_reads_every_clip_once(measured):
    sampler = measured[1]
    assert np.array_equal(np.sort(sampler.order(3)), np.arange(CLIPS))
    assert len(sampler) == CLIPS // 256


@pytest.mark.parametrize("options", [{}, {"shuffle_shards": 200}, {"balanced": True}], ids=str)
def test_next_epoch_is_planned_within_a_second(measured, options):
    shards = measured[0]
    sampler = Sampler(shards.clips, FeedConfig(batch_size=32, **options), shard=shards.shard_of_clip)
    began = time.process_time()
    sampler.batch(1, 0)
    assert time.process_time() - began < 1


def test_state_names_a_changed_shard_quickly(measured):
    _, _, resume, state, *_ = measured
    assert resume.position(state) == (1, 7)
    name = next(iter(state["shards"]))
    other = {**state, "shards": {**state["shards"], name: ("f" * 16, "all")}}
    began = time.process_time()
    with pytest.raises(ValueError, match=f"1 of 10157 shards have other bytes, the first {name}"):
        resume.position(other)
    assert time.process_time() - began < 2
