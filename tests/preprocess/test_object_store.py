"""Tests of preprocess.object_store, on fsspec's file system in memory."""

import builtins
import re

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from preprocess import object_store
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.object_store import TRIES, ObjectStore
from preprocess.paths import UNFINISHED
from preprocess.target import target_of


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(object_store, "_PAUSE_S", 0.0)


@pytest.fixture
def store():
    yield ObjectStore("memory://bucket/clips/")
    MemoryFileSystem.store.clear()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made"
    path.write_bytes(b"video" * 100)
    return path


def names():
    return sorted(MemoryFileSystem.store)


@pytest.mark.parametrize("whole", [False, True])
def test_put_get_size_remove(store, file, tmp_path, monkeypatch, whole):
    monkeypatch.setattr(object_store, "_WHOLE", {"memory"} if whole else set())
    store.put(file, "train/yoga/a.mp4")
    store.put(file, "train/yoga/a.mp4")
    assert names() == ["/bucket/clips/train/yoga/a.mp4"]
    assert store.size("train/yoga/a.mp4") == 500
    assert store.get("train/yoga/a.mp4", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
    store.remove("train/yoga/a.mp4")
    store.remove("train/yoga/a.mp4")
    assert store.size("train/yoga/a.mp4") is None
    assert not store.get("train/yoga/a.mp4", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_sizes_are_of_files_directly_below(store, file):
    assert store.sizes() == {}
    for name in ("index.json", "train-00000-of-00001.h5", "below/other"):
        store.put(file, name)
    assert store.sizes() == {"index.json": 500, "train-00000-of-00001.h5": 500}


@pytest.mark.parametrize("whole", [False, True])
def test_only_what_has_folders_is_asked_to_make_them(store, file, monkeypatch, whole):
    monkeypatch.setattr(object_store, "_WHOLE", {"memory"} if whole else set())
    made = []
    # fsspec's own makes folders too, that of an object store does not
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, lpath, rpath: self.pipe_file(rpath, file.read_bytes())
    )
    monkeypatch.setattr(MemoryFileSystem, "makedirs", lambda self, path, exist_ok: made.append((path, exist_ok)))
    store.put(file, "train/a.mp4")
    folders = [] if whole else [f"/bucket/clips/{UNFINISHED}", "/bucket/clips/train"]
    assert made == [(folder, True) for folder in folders]


def test_on_a_disk(file, tmp_path):
    store = ObjectStore(f"file://{tmp_path}/store")
    assert store.sizes() == {} == store.all_sizes()
    for name in ("train/yoga/a.mp4", "train/yoga/b.mp4", "list.csv"):
        store.put(file, name)
    assert store.all_sizes() == {"train/yoga/a.mp4": 500, "train/yoga/b.mp4": 500, "list.csv": 500}
    assert store.sizes() == {"list.csv": 500}
    assert store.get("none", tmp_path / "got") is False
    assert store.get("list.csv", tmp_path / "got") is True
    store.sweep()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["list.csv", "train"]


def test_state_changes_with_the_file(store, file):
    assert store.state("manifest.jsonl") is None
    store.put(file, "manifest.jsonl")
    first = store.state("manifest.jsonl")
    assert store.state("manifest.jsonl") == first
    file.write_bytes(b"longer" * 100)
    store.put(file, "manifest.jsonl")
    assert store.state("manifest.jsonl") not in {first, None}


def failing(monkeypatch, error, *, times):
    """`put_file` leaves half a file and fails, some times."""
    whole, calls = MemoryFileSystem.put_file, []

    def put_file(self, lpath, rpath, **options):
        calls.append(rpath)
        if len(calls) <= times:
            self.pipe_file(rpath, b"vid")
            raise error
        whole(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    return calls


def test_transfer_that_fails_is_tried_again(store, file, monkeypatch):
    calls = failing(monkeypatch, ConnectionResetError("reset"), times=TRIES - 1)
    store.put(file, "a.mp4")
    assert len(calls) == TRIES
    assert store.size("a.mp4") == 500


def test_transfer_that_fails_again_and_again_publishes_nothing_fails(store, file, monkeypatch):
    failing(monkeypatch, ConnectionResetError("reset"), times=99)
    pauses_s = []
    monkeypatch.setattr(object_store, "_PAUSE_S", 0.5)
    monkeypatch.setattr("time.sleep", pauses_s.append)
    with pytest.raises(
        EnvironmentProblem, match=r"memory://bucket/clips/a\.mp4 cannot be written: .*reset.* in 4 tries"
    ):
        store.put(file, "a.mp4")
    assert pauses_s == [0.5, 1.0, 2.0]
    assert store.size("a.mp4") is None
    store.sweep()
    assert names() == []


def test_transfer_that_ends_early_fails(store, file, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, lpath, rpath: self.pipe_file(rpath, b"vid"))
    with pytest.raises(EnvironmentProblem, match="3 of 500 bytes are there"):
        store.put(file, "a.mp4")
    assert store.size("a.mp4") is None


def test_forbidden_fails_at_once(store, file, monkeypatch):
    calls = failing(monkeypatch, PermissionError("Access Denied"), times=99)
    with pytest.raises(EnvironmentProblem, match=r"a\.mp4 may not be written \(Access Denied\); give credentials"):
        store.put(file, "a.mp4")
    assert len(calls) == 1


def test_bucket_that_is_not_there_fails_at_once(store, file, monkeypatch):
    calls = failing(monkeypatch, FileNotFoundError("no such bucket"), times=99)
    with pytest.raises(EnvironmentProblem, match="no such bucket; make the bucket or folder first"):
        store.put(file, "a.mp4")
    assert len(calls) == 1


def test_read_only_address_fails_at_once(store, file, monkeypatch):
    calls = failing(monkeypatch, NotImplementedError(), times=99)
    with pytest.raises(InvalidInput, match=r"a\.mp4 cannot be written: addresses of this kind do not allow it"):
        store.put(file, "a.mp4")
    assert len(calls) == 1


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_address_that_is_only_read_fails_before_anything_is_sent(protocol):
    store = ObjectStore(f"{protocol}://127.0.0.1:9/clips")
    store.check()
    with pytest.raises(InvalidInput, match=r"127\.0\.0\.1:9/clips is read-only, as every address of this kind; write"):
        store.check(writes=True)


@pytest.mark.parametrize("name", ["run*", "run?", "[run]"])
def test_address_that_stands_for_several_folders_is_not_written_to(name):
    store = ObjectStore(f"memory://bucket/{name}/clips")
    store.check()
    with pytest.raises(InvalidInput, match=r"run.* has one of \* \? \[, by which a store may mean several folders"):
        store.check(writes=True)


def test_file_that_is_not_there_has_no_state_whatever_its_key(store, file, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "ukey", lambda self, path: "of the address")
    assert store.state("manifest.jsonl") is None
    store.put(file, "manifest.jsonl")
    assert store.state("manifest.jsonl") == "of the address"


def test_trouble_with_the_network_is_not_taken_for_a_file_that_is_gone(store, file, monkeypatch):
    store.put(file, "index.json")

    def fails(self, path, **options):
        raise OSError("connection reset")

    for method in ("info", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, method, fails)
    for act in (store.state, store.remove):
        with pytest.raises(EnvironmentProblem, match="connection reset"):
            act("index.json")


def test_unknown_address_fails():
    with pytest.raises(InvalidInput, match=r"nowhere://bucket cannot be opened: Protocol not known: nowhere"):
        ObjectStore("nowhere://bucket").check()


@pytest.mark.parametrize("address", ["s3://", "file://", "file:///", "http://", "://bucket"])
def test_address_of_nothing_fails(address):
    with pytest.raises(InvalidInput, match=rf"^'{address}' names no bucket or folder; give an address such as s3://b"):
        ObjectStore(address).check(writes=True)


@pytest.mark.parametrize("address", ["http://[x/clips", "https://x:99999/clips", "http:///clips"])
def test_address_of_no_host_fails(address):
    with pytest.raises(InvalidInput, match=rf"{re.escape(address)} cannot be opened; give http\(s\)://host/path"):
        ObjectStore(address).check()
    with pytest.raises(InvalidInput, match="is read-only, as every address of this kind"):
        ObjectStore(address).check(writes=True)


def test_server_that_does_not_answer_when_it_is_opened_fails():
    with pytest.raises(EnvironmentProblem, match=r"ftp://127\.0\.0\.1:9/clips cannot be opened: ConnectionRefusedErr"):
        ObjectStore("ftp://127.0.0.1:9/clips").check()


def test_missing_package_fails(monkeypatch):
    entry = {"class": "no_such_package.Files", "err": "Install no_such_package for this"}
    monkeypatch.setitem(known_implementations, "lacking", entry)
    with pytest.raises(EnvironmentProblem, match=r"lacking://bucket: Install no_such_package for this; install that"):
        ObjectStore("lacking://bucket").check()


def test_missing_fsspec_fails(monkeypatch):
    as_ever = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("fsspec"):
            raise ImportError("No module named 'fsspec'")
        return as_ever(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match=r"s3://bucket needs fsspec .*pip install 'kineflow\[remote\]'"):
        ObjectStore("s3://bucket").check()


def test_password_is_not_shown():
    assert ObjectStore("sftp://user:word@host/clips").name == "sftp://host/clips"


def test_address_that_holds_something_else_is_refused_whatever_its_staging_folder_knows(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "plan.json").touch()
    target = target_of(f"file://{tmp_path}/store", staging=tmp_path / "staging")
    target.check_not_taken("manifest.jsonl", holds="clips")
    with pytest.raises(InvalidInput, match=r"store holds shards \(plan\.json\); choose another --out"):
        target.check_not_taken("plan.json", holds="shards")
