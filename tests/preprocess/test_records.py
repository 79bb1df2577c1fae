"""Tests of preprocess.records, on fsspec's file system in memory: which copy of a file counts."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preprocess import object_store
from preprocess.errors import EnvironmentProblem
from preprocess.object_store import ObjectStore
from preprocess.records import SentRecords

PLAN, INDEX = "plan.json", "index.json"


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(object_store, "_PAUSE_S", 0.0)
    yield
    MemoryFileSystem.store.clear()


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def kept(folder):
    return SentRecords(ObjectStore("memory://bucket/shards"), folder, (PLAN, INDEX)).kept()


def at_address():
    return {name.rpartition("/")[2]: bytes(file.getbuffer()) for name, file in MemoryFileSystem.store.items()}


def in_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".sent.json"}


def run(folder, **contents):
    """A run that writes files; what it found before."""
    with kept(folder):
        found = in_folder(folder)
        for name, content in contents.items():
            (folder / f"{name}.json").write_bytes(content)
    return found


def test_a_run_goes_on_where_one_on_another_machine_ended(here, elsewhere):
    assert run(here, plan=b"1") == {}
    assert run(elsewhere, plan=b"22", index=b"3") == {PLAN: b"1"}
    assert run(here) == {PLAN: b"22", INDEX: b"3"} == at_address()


def test_what_a_killed_run_had_not_sent_counts_where_it_ran(here):
    run(here, plan=b"1")
    (here / PLAN).write_bytes(b"22")  # then it was killed
    assert run(here) == {PLAN: b"22"} == at_address()


def test_what_another_run_sent_since_counts_more(here, elsewhere):
    run(here, plan=b"1")
    (here / PLAN).write_bytes(b"22")
    run(elsewhere, plan=b"333")
    assert run(here) == {PLAN: b"333"}


def test_what_was_deleted_at_the_address_is_gone(here, caplog):
    run(here, plan=b"1", index=b"2")
    MemoryFileSystem().rm(f"/bucket/shards/{INDEX}")
    assert run(here) == {PLAN: b"1"} == at_address()
    assert f"memory://bucket/shards/{INDEX} was deleted; this run begins without it" in caplog.text
    caplog.clear()
    MemoryFileSystem().rm(f"/bucket/shards/{PLAN}")
    (here / PLAN).unlink()
    assert run(here) == {} == at_address()
    assert f"{INDEX} was deleted" not in caplog.text  # that is known


def test_what_was_never_there_is_sent(here):
    (here / PLAN).write_bytes(b"1")
    assert run(here) == {PLAN: b"1"} == at_address()


@pytest.mark.parametrize("content", [b"{", b"[1]", b"7"])
def test_the_address_counts_where_nobody_knows_what_was_sent(here, content):
    run(here, plan=b"1")
    (here / PLAN).write_bytes(b"22")
    (here / ".sent.json").write_bytes(content)
    assert run(here) == {PLAN: b"1"}


def test_only_what_changed_is_sent_and_in_order(here, monkeypatch):
    sent, put = [], ObjectStore.put
    monkeypatch.setattr(ObjectStore, "put", lambda store, path, name: sent.append(name) or put(store, path, name))
    with kept(here) as records:
        for name in (INDEX, PLAN):
            (here / name).write_bytes(b"1")
        records.send()
        assert sent == [PLAN, INDEX]
        records.send()
        assert sent == [PLAN, INDEX]
        (here / INDEX).write_bytes(b"22")
    assert sent == [PLAN, INDEX, INDEX]
    sent.clear()
    (here / PLAN).unlink()
    assert run(here) == {PLAN: b"1", INDEX: b"22"}
    assert sent == [INDEX]  # nobody knows whether it changed since; the other one has just been restored


def test_they_are_sent_each_minute_and_for_a_twentieth_of_the_time_at_most(here, monkeypatch):
    now_s, sent_s = 0.0, []

    def put(_store, _path, _name):
        nonlocal now_s
        sent_s.append(now_s)
        now_s += 10

    monkeypatch.setattr("preprocess.records.time", SimpleNamespace(monotonic=lambda: now_s))
    with kept(here) as records:
        monkeypatch.setattr(ObjectStore, "put", put)
        for now_s in (0, 59, 60, 269, 270, 479, 480):
            (here / PLAN).write_bytes(b"1" * (1 + int(now_s)))
            records.tick()
        assert sent_s == [60, 270, 480]


def test_an_error_is_what_is_raised_and_what_was_done_is_sent(here, monkeypatch, caplog):
    def fail(content):
        with kept(here):
            (here / PLAN).write_bytes(content)
            raise KeyError

    with pytest.raises(KeyError):
        fail(b"1")
    assert at_address() == {PLAN: b"1"}

    def full(store, path, name):
        raise EnvironmentProblem(f"{name} cannot be written")

    monkeypatch.setattr(ObjectStore, "put", full)
    with pytest.raises(KeyError):
        fail(b"22")
    assert f"{PLAN} cannot be written; the next run from this machine sends it" in caplog.text
    caplog.clear()
    with pytest.raises(EnvironmentProblem), kept(here) as records:
        records.send()  # said once
    assert caplog.text == ""


def test_what_transfers_left_is_swept_before_and_after(here):
    left = "/bucket/shards/.kineflow-unfinished/1"
    for error in (None, KeyError):
        MemoryFileSystem().pipe_file(left, b"x")
        with suppress(KeyError), kept(here):
            assert left not in MemoryFileSystem.store
            MemoryFileSystem().pipe_file(left, b"x")
            if error:
                raise error
        assert left not in MemoryFileSystem.store
