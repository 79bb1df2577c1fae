import fcntl
import hashlib
import multiprocessing
import os
import threading
import time

import pytest

from pipelines.cache import ShardCache, Wanted
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards.store import map_file


def content_of(number: int, size: int = 1000) -> bytes:
    return bytes([number]) * size


def wanted_of(content: bytes) -> Wanted:
    return Wanted(source="shard", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def put(cache: ShardCache, content: bytes) -> None:
    cache.open(wanted_of(content), lambda: [content]).close()


def held(cache: ShardCache) -> list[int]:
    """Numbers of the contents in the cache."""
    return sorted(path.read_bytes()[0] for path in cache.folder.glob("*.h5"))


def age(cache: ShardCache, content: bytes, seconds: float) -> None:
    path = cache.folder / f"{wanted_of(content).sha256}.h5"
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def cache(tmp_path):
    return ShardCache(tmp_path / "cache", max_bytes=3500, wait_s=0.2)


def test_content_is_fetched_once(cache):
    content, calls = content_of(1), []

    def download():
        calls.append(1)
        return [content[:300], content[300:]]

    for _ in range(2):
        with cache.open(wanted_of(content), download) as file:
            assert file.read() == content
    assert len(calls) == 1
    assert [path.name for path in cache.folder.iterdir() if path.name != ".lock"] == [f"{wanted_of(content).sha256}.h5"]


def test_the_longest_unused_goes_first(cache):
    for number in (1, 2, 3):
        put(cache, content_of(number))
        age(cache, content_of(number), seconds=100 - number)
    put(cache, content_of(1))  # used again
    put(cache, content_of(4))
    assert held(cache) == [1, 3, 4]


def test_what_is_mapped_stays(cache):
    for number in (1, 2, 3):
        put(cache, content_of(number))
        age(cache, content_of(number), seconds=100 - number)
    with cache.open(wanted_of(content_of(1)), list) as file:
        mapped = map_file(file.fileno())
    age(cache, content_of(1), seconds=1000)
    view = mapped[10:20]
    del mapped
    put(cache, content_of(4))
    put(cache, content_of(5))
    assert held(cache) == [1, 4, 5]
    assert view.tobytes() == content_of(1, 10)
    del view
    put(cache, content_of(6))
    assert held(cache) == [4, 5, 6]


def test_bound_is_kept_while_downloads_run(cache):
    started, go = threading.Semaphore(0), threading.Event()

    def slowly(content):
        def pieces():
            yield content[:10]
            started.release()
            go.wait(10)
            yield content[10:]

        return pieces

    threads = [
        threading.Thread(target=lambda n=n: cache.open(wanted_of(content_of(n)), slowly(content_of(n))).close())
        for n in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
        started.acquire()
    with pytest.raises(
        EnvironmentProblem, match=r"no room for shard of 1000 bytes: all of the 3500 bytes of .* in use"
    ):
        put(cache, content_of(4))
    assert cache.open(wanted_of(content_of(4)), list, wait=False) is None
    go.set()
    for thread in threads:
        thread.join()
    put(cache, content_of(4))
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 3500


def test_waits_for_room(tmp_path):
    cache = ShardCache(tmp_path, max_bytes=1500, wait_s=10)
    file = cache.open(wanted_of(content_of(1)), lambda: [content_of(1)])
    timer = threading.Timer(0.2, file.close)
    timer.start()
    put(cache, content_of(2))
    timer.join()
    assert held(cache) == [2]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (content_of(1)[:-1], "shard: 999 bytes came, the index says 1000"),
        (content_of(1) + b"x", "shard: more than 1000 bytes came"),
        (content_of(2), "shard has sha256 .*, the index says .*; it changed after the index was written"),
    ],
)
def test_other_content_is_refused_and_leaves_nothing(cache, sent, message):
    with pytest.raises(BadShard, match=message):
        cache.open(wanted_of(content_of(1)), lambda: [sent])
    assert [path.name for path in cache.folder.iterdir()] == [".lock"]
    put(cache, content_of(1))


def test_endless_content_is_not_kept(cache):
    count = 0

    def endless():
        nonlocal count
        while True:
            count += 1
            yield bytes(500)

    with pytest.raises(BadShard, match="more than 1000 bytes came"):
        cache.open(wanted_of(content_of(1)), endless)
    assert count == 3


def test_failing_download_leaves_nothing(cache):
    def broken():
        yield content_of(1)[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.open(wanted_of(content_of(1)), broken)
    assert [path.name for path in cache.folder.iterdir()] == [".lock"]


def test_download_of_a_killed_process_is_done_anew(cache):
    (cache.folder / f"{wanted_of(content_of(1)).sha256}.part").write_bytes(bytes(1000))
    put(cache, content_of(1))
    assert held(cache) == [1]


def test_downloads_of_killed_processes_make_room(cache):
    for number in range(3):
        (cache.folder / f"{number:064x}.part").write_bytes(bytes(1000))
    put(cache, content_of(1))
    assert sorted(path.suffix for path in cache.folder.iterdir()) == ["", ".h5"]


def test_one_download_serves_all_who_want_it(cache):
    content, calls = content_of(1), []

    def download():
        calls.append(1)
        time.sleep(0.2)
        return [content]

    found = []

    def read():
        with cache.open(wanted_of(content), download) as file:
            found.append(file.read())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content] * 4
    assert len(calls) == 1


def _use(folder, seed, failures):
    """Read contents in some order, and check each; run by several processes on one folder."""
    cache = ShardCache(folder, max_bytes=3500, wait_s=20)
    for turn in range(60):
        content = content_of((turn * seed) % 8 + 1)
        with cache.open(wanted_of(content), lambda content=content: [content]) as file:
            mapped = map_file(file.fileno())
        if mapped.tobytes() != content:
            failures.put("content")
        del mapped
        with cache._lock():  # nothing comes or goes meanwhile
            total = sum(path.stat().st_size for path in folder.iterdir())
        if total > 3500:
            failures.put(f"{total} bytes")


def test_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    processes = [context.Process(target=_use, args=(tmp_path, seed, failures)) for seed in (1, 3, 5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert failures.empty()


def test_lock_ends_with_its_process(cache):
    put(cache, content_of(1))
    path = cache.folder / f"{wanted_of(content_of(1)).sha256}.h5"
    child = os.fork()
    if child == 0:
        fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_SH)
        os._exit(0)
    os.waitpid(child, 0)
    for number in (2, 3, 4):
        put(cache, content_of(number))
    assert held(cache) == [2, 3, 4]


def test_other_files_of_the_folder_are_left_alone(cache):
    others = ["train-00000-of-00001.h5", "notes.npz", "x.part", "index.json"]
    for name in others:
        (cache.folder / name).write_bytes(bytes(5000))
    for number in range(1, 6):
        put(cache, content_of(number))
    assert len(held(cache)) == 4
    assert all((cache.folder / name).stat().st_size == 5000 for name in others)


def test_larger_than_the_cache_fails(cache):
    with pytest.raises(
        InvalidInput, match="shard has 4000 bytes, cache_bytes is 3500; give it at least a shard for each"
    ):
        put(cache, content_of(1, 4000))


def test_no_room_at_all_fails(tmp_path):
    with pytest.raises(InvalidInput, match="cache_bytes is 0; it must be at least 1"):
        ShardCache(tmp_path, max_bytes=0)


def test_folder_that_cannot_be_made_fails(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot make the folder"):
        ShardCache(tmp_path / "file" / "cache")


def test_disk_that_takes_no_more_fails(cache):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentProblem, match=r"cannot keep shard in .*: No space left on device; free space"):
        cache.open(wanted_of(content_of(1)), full)


def test_tables_are_kept_and_make_room(cache):
    cache.put_table("a" * 64, bytes(3000))
    assert cache.table("a" * 64) == bytes(3000)
    assert cache.table("b" * 64) is None
    put(cache, content_of(1))
    assert cache.table("a" * 64) is None
    cache.put_table("c" * 64, bytes(4000))
    assert cache.table("c" * 64) is None
    assert held(cache) == [1], "nothing goes for a table that has no place in all of the cache"


def test_table_of_a_killed_process_is_written_anew(cache):
    (cache.folder / f"{'a' * 64}.part").write_bytes(bytes(10))
    cache.put_table("a" * 64, b"table")
    assert cache.table("a" * 64) == b"table"


def test_touched_copy_goes_later(cache):
    for number in (1, 2, 3):
        put(cache, content_of(number))
        age(cache, content_of(number), seconds=100 - number)
    assert cache.touch(wanted_of(content_of(1)))
    assert not cache.touch(wanted_of(content_of(4)))
    put(cache, content_of(4))
    assert held(cache) == [1, 3, 4]


def test_copy_that_cannot_be_touched_is_there_all_the_same(cache, monkeypatch):
    put(cache, content_of(1))

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert cache.touch(wanted_of(content_of(1)))
