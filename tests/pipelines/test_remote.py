import errno
import io
import itertools
import pickle
import shutil
import threading
from importlib.util import find_spec

import fsspec
import h5py
import pytest
from fsspec.implementations.memory import MemoryFile

from pipelines import LOADERS, remote
from pipelines.cache import ShardCache
from pipelines.remote import TRIES, RemoteStore
from preprocess.address import without_secrets
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards import Index, ShardSet
from preprocess.shards.layout import shard_name
from tests.pipelines.file_server import serving
from tests.pipelines.small_loader import assert_same_epochs, open_small
from tests.pipelines.tiny_shards import textured_clip, write_set

_FOLDERS = itertools.count()
FIRST = shard_name("train", 0, 4)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Twelve clips in four shards."""
    clips = [textured_clip(f"clip{n:02d}", label=n % 3, frames=14, size=(48, 64)) for n in range(12)]
    return write_set(tmp_path_factory.mktemp("many"), {"train": [clips[n : n + 3] for n in range(0, 12, 3)]})


@pytest.fixture
def in_memory(many):
    """The same shards in fsspec's memory file system."""
    address = f"memory://shards{next(_FOLDERS)}"
    files = fsspec.filesystem("memory")
    files.put(str(many), address, recursive=True)
    yield address
    files.rm(address, recursive=True)


@pytest.fixture
def served(many, tmp_path):
    shutil.copytree(many, tmp_path / "served")
    with serving(tmp_path / "served") as (address, behaviour):
        yield address, behaviour, tmp_path / "served"


@pytest.fixture
def cache(tmp_path):
    return ShardCache(tmp_path / "cache", wait_s=1)


def store_of(address, cache) -> RemoteStore:
    return RemoteStore(address, cache, pause_s=0.01)


def fetched(behaviour, name: str = "") -> list[str]:
    """Whole shards that were asked for."""
    return [asked for asked, part in behaviour.requests if asked.endswith(".h5") and part is None and name in asked]


@pytest.mark.parametrize("backend", LOADERS)
@pytest.mark.parametrize("kind", ["memory", "http", "file"])
def test_batches_are_those_of_the_local_shards(many, in_memory, served, tmp_path, kind, backend):
    address = {"memory": in_memory, "http": served[0], "file": f"file://{many}"}[kind]
    far = open_small(address, backend, cache=tmp_path / "cache")
    assert_same_epochs(far, open_small(many, "torch"), epochs=2)
    far.close()


def test_tables_need_parts_of_the_shards_only(served, cache):
    address, behaviour, folder = served
    shards = ShardSet(store_of(address, cache), "train")
    assert shards.clips.key.tolist() == ShardSet(folder, "train").clips.key.tolist()
    assert fetched(behaviour) == []
    assert list(cache.folder.glob("*.h5")) == []


def test_tables_are_read_once(served, cache):
    address, behaviour, _ = served
    ShardSet(store_of(address, cache), "train")
    before = len(behaviour.requests)
    ShardSet(store_of(address, cache), "train")
    assert [name for name, _ in behaviour.requests[before:]] == ["index.json"]


def test_without_ranges_whole_shards_are_fetched(served, cache):
    address, behaviour, folder = served
    behaviour.ranges = False
    shards = ShardSet(store_of(address, cache), "train")
    near = ShardSet(folder, "train")
    assert shards.clips.key.tolist() == near.clips.key.tolist()
    assert len(list(cache.folder.glob("*.h5"))) == 4
    assert shards.jpeg("rgb", 5, 3).tobytes() == near.jpeg("rgb", 5, 3).tobytes()


def test_network_is_never_waited_for_inside_hdf5(in_memory, cache, monkeypatch):
    """Garbage collected in the network's thread may free h5py's objects, which waits for whoever is inside HDF5."""
    stuck = []

    def read(file, length):
        freeing = threading.Thread(target=lambda: h5py.h5s.create(h5py.h5s.SCALAR), daemon=True)
        freeing.start()
        freeing.join(5)
        stuck.append(freeing.is_alive())
        return io.BytesIO.read(file, length)

    monkeypatch.setattr(MemoryFile, "read", read, raising=False)
    ShardSet(store_of(in_memory, cache), "train")
    assert stuck
    assert not any(stuck)


def test_head_that_lies_across_blocks_is_read_whole(served, cache, monkeypatch):
    monkeypatch.setattr(remote, "_BLOCK", 3000)
    address, behaviour, folder = served
    assert (
        ShardSet(store_of(address, cache), "train").clips.key.tolist() == ShardSet(folder, "train").clips.key.tolist()
    )
    assert fetched(behaviour) == []


def test_each_shard_is_fetched_once_where_the_cache_holds_all(served, tmp_path):
    address, behaviour, _ = served
    loader = open_small(address, "torch", cache=tmp_path / "cache")
    for _ in range(3):
        list(loader)
    loader.close()
    assert sorted(fetched(behaviour)) == [shard_name("train", number, 4) for number in range(4)]


def test_bound_of_the_cache_is_kept(many, served, tmp_path):
    address, behaviour, _ = served
    largest = max(info.bytes for info in Index.read(many).shards)
    options = {"batch_size": 1, "shuffle_shards": 1}
    loader = open_small(address, "torch", cache=tmp_path / "cache", cache_bytes=int(2.5 * largest), **options)
    near = open_small(many, "torch", **options)
    for _ in range(2):
        for found, expected in zip(loader, near, strict=True):
            assert_same_epochs([found], [expected])
            held = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
            assert held <= 2.5 * largest
    loader.close()
    # shuffled within a shard at a time, no shard is fetched twice in an epoch; the thread is in the third
    assert len(fetched(behaviour)) <= 3 * 4


def test_missing_shard_fails_and_is_named(served, cache):
    address, _, folder = served
    (folder / FIRST).unlink()
    with pytest.raises(BadShard, match=rf"{address}/{FIRST} is missing; publish all shards that index\.json names"):
        ShardSet(store_of(address, cache), "train")


def test_missing_shard_is_skipped_if_asked(served, tmp_path):
    address, _, folder = served
    (folder / FIRST).unlink()
    loader = open_small(address, "torch", cache=tmp_path / "cache", on_bad_shard="skip")
    keys = {key for batch in loader for key in batch["key"]}
    assert keys <= {f"clip{n:02d}" for n in range(3, 12)}
    assert list(loader.skipped.shards) == [f"{address}/{FIRST}"]
    assert list((tmp_path / "cache").glob("*.npz")) == [], "a table with a hole is not kept"
    loader.close()


def test_no_index_fails(tmp_path, cache):
    with (
        serving(tmp_path) as (address, _),
        pytest.raises(BadShard, match=r"/index\.json is missing"),
    ):
        store_of(address, cache).index()


def test_body_that_breaks_off_is_asked_for_again(served, cache):
    address, behaviour, folder = served
    shards = ShardSet(store_of(address, cache), "train")
    behaviour.cut[FIRST] = TRIES - 1
    assert shards.jpeg("rgb", 0, 0).tobytes() == ShardSet(folder, "train").jpeg("rgb", 0, 0).tobytes()
    assert len(fetched(behaviour, FIRST)) == TRIES


def test_body_that_keeps_breaking_off_fails(served, cache):
    address, behaviour, _ = served
    shards = ShardSet(store_of(address, cache), "train")
    behaviour.cut[FIRST] = 100
    with pytest.raises(BadShard, match=rf"{address}/{FIRST} cannot be fetched: ClientPayloadError: [^(]*") as raised:
        shards.jpeg("rgb", 0, 0)
    # as a process of a run sends it to the others
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert len(fetched(behaviour, FIRST)) == TRIES
    assert list(cache.folder.glob("*.part")) == list(cache.folder.glob("*.h5")) == []


def test_server_that_is_busy_is_asked_again(served, cache):
    address, behaviour, _ = served
    behaviour.errors["index.json"] = [503]
    behaviour.errors[FIRST] = [503, 500]
    shards = ShardSet(store_of(address, cache), "train")
    behaviour.errors[FIRST] = [503]
    assert len(shards.jpeg("rgb", 0, 0))


def test_forbidden_fails_at_once(served, cache):
    address, behaviour, _ = served
    behaviour.errors["index.json"] = [403, 200]
    with pytest.raises(BadShard, match=r"/index\.json may not be read .*; give credentials, see storage_options"):
        store_of(address, cache).index()
    assert len(behaviour.requests) == 1


def test_changed_shard_fails_and_is_named(served, cache):
    address, _, folder = served
    shards = ShardSet(store_of(address, cache), "train")
    content = bytearray((folder / FIRST).read_bytes())
    content[-10] ^= 1
    (folder / FIRST).write_bytes(content)
    with pytest.raises(BadShard, match=rf"{address}/{FIRST} has sha256 .* the index says .* publish both again"):
        shards.jpeg("rgb", 0, 0)
    (folder / FIRST).write_bytes(content + b"x")
    with pytest.raises(BadShard, match=rf"{address}/{FIRST}"):
        shards.jpeg("rgb", 0, 0)


def test_damaged_head_fails_and_is_named(served, cache):
    address, _, folder = served
    content = bytearray((folder / FIRST).read_bytes())
    content[:100] = bytes(100)
    (folder / FIRST).write_bytes(content)
    with pytest.raises(BadShard, match=rf"{address}/{FIRST} cannot be opened as HDF5"):
        ShardSet(store_of(address, cache), "train")


def test_nobody_at_the_address_fails(served, cache):
    with serving(served[2]) as (address, _):
        pass
    with pytest.raises(BadShard, match=rf"{address}/index\.json cannot be fetched"):
        store_of(address, cache).index()


def test_hash_that_is_no_hash_fails(served, cache):
    address, _, folder = served
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text.replace(Index.read(folder).shards[0].sha256, "../../evil"))
    with pytest.raises(BadShard, match=r"gives train-00000-of-00004\.h5 the sha256 '\.\./\.\./evil'"):
        store_of(address, cache).index()


def test_unknown_protocol_fails(cache):
    with pytest.raises(InvalidInput, match=r"shards at nowhere://x cannot be opened: .*nowhere"):
        store_of("nowhere://x", cache)
    with pytest.raises(InvalidInput, match=r"shards at http://\[x/shards cannot be opened; give http"):
        store_of("http://[x/shards", cache)


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed here")
def test_missing_package_fails(cache):
    with pytest.raises(EnvironmentProblem, match=r"shards at s3://bucket/x: Install s3fs .*; install that package"):
        store_of("s3://bucket/x", cache)


def test_secrets_of_an_address_are_not_shown():
    assert without_secrets("https://me:word@host:80/a/b?token=x") == "https://host:80/a/b"
    assert without_secrets("s3://bucket/a") == "s3://bucket/a"


def test_what_is_prefetched_again_is_not_pushed_out_by_what_follows(many, served, tmp_path):
    address, behaviour, _ = served
    infos = Index.read(many).shards
    cache = ShardCache(tmp_path / "cache", max_bytes=int(3.2 * max(info.bytes for info in infos)))
    store = RemoteStore(address, cache)
    for info in infos[:3]:
        store.fetch(info)
    store.fetch(infos[0])
    store.fetch(infos[3])
    before = len(fetched(behaviour))
    store.fetch(infos[0])
    assert len(fetched(behaviour)) == before


@pytest.mark.parametrize("broken", ["table", "put_table"])
def test_cache_that_fails_costs_no_table(served, cache, monkeypatch, caplog, broken):
    address, _, folder = served

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ShardCache, broken, fails)
    assert len(ShardSet(store_of(address, cache), "train")) == len(ShardSet(folder, "train"))
    assert "No space left on device" in caplog.text
