import threading
import time

import pytest

from pipelines.feed_config import FeedConfig
from pipelines.prefetch import Prefetcher
from pipelines.sampling import Sampler
from preprocess.errors import BadShard, EnvironmentProblem
from preprocess.shards import ShardSet
from preprocess.shards.store import FolderStore
from tests.pipelines.tiny_shards import flat_clip, write_set


class Recording(FolderStore):
    """A folder that notes which shards are fetched."""

    def __init__(self, folder, *, fail=None):
        super().__init__(folder)
        self.fetched: list[int] = []
        self.more = threading.Semaphore(0)
        self.fail = fail or {}

    def fetch(self, info):
        number = int(info.name.split("-")[1])
        self.fetched.append(number)
        self.more.release()
        if number in self.fail:
            raise self.fail[number]

    def wait_for(self, count):
        for _ in range(count):
            assert self.more.acquire(timeout=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [flat_clip(f"c{n}", label=0, frames=9) for n in range(12)]
    return write_set(tmp_path_factory.mktemp("set"), {"train": [clips[n : n + 1] for n in range(12)]})


def opened(folder, *, fail=None, bad=None, max_shards=100):
    store = Recording(folder, fail=fail)
    shards = ShardSet(store, "train")
    if bad is not None:
        shards.bad[bad] = "gone"
    sampler = Sampler(shards.clips, FeedConfig(frames=4, crop=32, batch_size=2))
    size = shards.infos[0][1].bytes
    return store, sampler, Prefetcher(shards, sampler, max_bytes=max_shards * size + size // 2)


def test_shards_come_in_the_order_of_the_plan(folder):
    store, sampler, prefetcher = opened(folder)
    prefetcher.aim(0, 2)
    store.wait_for(12)
    prefetcher.close()
    assert store.fetched[:8] == list(sampler.order(0)[4:])
    assert sorted(store.fetched) == list(range(12))


def test_nothing_is_fetched_before_a_batch_is_wanted(folder):
    store, _, prefetcher = opened(folder)
    time.sleep(0.05)
    prefetcher.close()
    assert store.fetched == []


def test_no_more_than_half_of_the_cache_is_filled_ahead(folder):
    store, sampler, prefetcher = opened(folder, max_shards=3)
    prefetcher.aim(0, 0)
    store.wait_for(3)
    time.sleep(0.05)
    assert store.fetched == list(sampler.order(0)[:3])
    prefetcher.aim(0, 1)
    store.wait_for(3)
    prefetcher.close()
    assert store.fetched[3:] == list(sampler.order(0)[2:5])


def test_what_a_new_aim_does_not_need_is_not_fetched(folder, monkeypatch):
    store, sampler, prefetcher = opened(folder)
    go, fetch = threading.Event(), store.fetch
    monkeypatch.setattr(store, "fetch", lambda info: (fetch(info), go.wait(5)))
    prefetcher.aim(0, 0)
    store.wait_for(1)
    prefetcher.aim(0, 4)
    go.set()
    store.wait_for(1)
    prefetcher.close()
    assert store.fetched[:2] == sampler.order(0)[[0, 8]].tolist()


def test_shard_that_is_bad_already_is_not_fetched(folder):
    store, _, prefetcher = opened(folder, bad=3)
    prefetcher.aim(0, 0)
    store.wait_for(11)
    prefetcher.close()
    assert sorted(store.fetched) == [n for n in range(12) if n != 3]


def test_shard_that_cannot_be_fetched_is_left_to_the_loader(folder):
    store, _, prefetcher = opened(folder, fail={3: BadShard("gone")})
    prefetcher.aim(0, 0)
    store.wait_for(12)
    prefetcher.close()
    assert sorted(store.fetched) == list(range(12))


def test_full_disk_ends_prefetching_and_says_so(folder, caplog):
    first = int(opened(folder)[1].order(0)[0])
    store, _, prefetcher = opened(folder, fail={first: EnvironmentProblem("disk full")})
    prefetcher.aim(0, 0)
    store.wait_for(1)
    prefetcher.close()
    assert store.fetched == [first]
    assert "prefetching stops: disk full" in caplog.text


def test_thread_ends_with_its_prefetcher(folder):
    _, _, prefetcher = opened(folder)
    thread = prefetcher._thread
    del prefetcher
    thread.join(5)
    assert not thread.is_alive()


def test_close_twice_is_harmless(folder):
    prefetcher = opened(folder)[2]
    prefetcher.close()
    prefetcher.close()
