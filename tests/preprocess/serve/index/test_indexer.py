import os
import re
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.serve.index import indexer as indexer_module
from preprocess.serve.index import schema
from preprocess.serve.index.clips import ClipQuery, find_clip, find_clips
from preprocess.serve.index.counts import failures, labels, messages, read_runs
from preprocess.serve.index.entries import Entries
from preprocess.serve.index.indexer import Indexer
from preprocess.serve.runs import Runs
from tests.preprocess.clip_folders import clip, done
from tests.preprocess.serve.small_root import KEYS, append, indexed, make_root, outcomes

ALL = {"done": 3, "unavailable": 1, "temporary": 1}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.serve.runs.FIND_EVERY_S", 0.0)
    monkeypatch.setattr("preprocess.serve.runs._SHARE", 1e9)
    return make_root(tmp_path / "root")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".kineflow-serve" / "index.sqlite"


def content(indexer):
    """All but samples and what files are numbered."""
    with indexer.reading() as db:
        tables = ("label", "kind", "message", "entry", "earlier", "tally", "damage")
        return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def wait_until(condition, *, within_s=10.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def test_deleting_it_changes_nothing(small, path):
    first = indexed(small, path)
    before = content(first)
    schema.remove(path)
    first.catch_up()
    assert path.exists()
    assert content(first) == before
    first.stop()
    schema.remove(path)
    assert content(indexed(small, path)) == before


def test_deleted_with_its_lock_it_is_still_of_one_server(small, path):
    first = indexed(small, path)
    shutil.rmtree(path.parent)
    first.catch_up()
    with pytest.raises(EnvironmentProblem, match="is in use by process"):
        Indexer(path, runs=Runs(small))
    shutil.rmtree(path.parent)
    second = indexed(small, path)
    append(small, [done(clip(6))])
    second.catch_up()
    with pytest.raises(EnvironmentProblem, match="is in use by process"):
        first.catch_up()
    assert outcomes(first) == outcomes(second) == ALL | {"done": 4}  # no dead file is read
    second.stop()
    append(small, [done(clip(7))])
    first.catch_up()
    assert outcomes(first) == ALL | {"done": 5}
    first.stop()


def test_stopped_it_has_no_file_open(small, path):
    indexer = indexed(small, path)
    indexer.progress()
    indexer.stop()
    assert not [link for link in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if link.startswith(str(path))]


def test_it_is_kept_between_starts(small, path, monkeypatch):
    indexed(small, path).stop()
    monkeypatch.setattr("preprocess.serve.index.manifests.parse_line", lambda line: pytest.fail("read again"))
    assert outcomes(indexed(small, path)) == ALL


@pytest.mark.parametrize("spoil", ["text", "half", "version", "zeros"])
def test_a_damaged_or_older_file_is_made_anew(small, path, spoil):
    indexed(small, path).stop()
    file = path.read_bytes()
    if spoil == "text":
        path.write_bytes(b"no database at all" * 100)
    elif spoil == "half":
        path.write_bytes(file[: len(file) // 2])
    elif spoil == "zeros":
        path.write_bytes(file[:8192] + bytes(len(file) - 8192))
    else:
        make_older(path)
    assert outcomes(indexed(small, path)) == ALL


def make_older(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()


@pytest.mark.parametrize("spoil", ["half", "version", "new"])
def test_an_index_elsewhere_is_made_anew_as_long_as_it_says_what_it_is(small, tmp_path, spoil):
    path = tmp_path / "index.sqlite"
    indexed(small, path).stop()
    if spoil == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif spoil == "new":
        path.write_bytes(b"")
    else:
        make_older(path)
    assert outcomes(indexed(small, path)) == ALL


@pytest.mark.parametrize("kind", ["text", "database", "short"])
def test_another_file_stays(small, tmp_path, kind):
    path = tmp_path / "notes.db"
    if kind == "database":
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE note (text)")
        db.close()
    else:
        path.write_bytes(b"SQLite format 3\x00" if kind == "short" else b"no database at all" * 100)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match=r"is no index of `preprocess serve`, so it stays.*--index"):
        Indexer(path, runs=Runs(small))
    assert path.read_bytes() == before


def test_a_new_file_says_what_it_is_before_anything_is_in_it(small, tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    monkeypatch.setattr(schema, "_SCHEMA", "SELECT no_such_thing;")
    with pytest.raises(EnvironmentProblem):
        Indexer(path, runs=Runs(small))
    monkeypatch.undo()
    assert path.stat().st_size > 0
    assert outcomes(indexed(make_root(tmp_path / "other"), path)) == ALL


def test_its_file_may_have_any_name(small, tmp_path):
    path = tmp_path / "a%20b?mode=memory#1.sqlite"
    assert outcomes(indexed(small, path)) == ALL
    assert path.stat().st_size > 0


def test_a_file_found_damaged_later_is_made_anew(small, path):
    indexer = indexed(small, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM entry")
    indexer.distrust()
    indexer.catch_up()
    assert outcomes(indexer) == ALL


def test_it_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="--index"):
        Indexer(tmp_path / "file" / "index.sqlite", runs=Runs(small))
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(EnvironmentProblem, match="--index"):
        Indexer(tmp_path / "folder.sqlite", runs=Runs(small))


def test_an_index_that_another_process_holds_stays(small, path, monkeypatch):
    indexed(small, path).stop()
    before = path.stat().st_ino
    connect = sqlite3.connect
    monkeypatch.setattr(
        schema.sqlite3, "connect", lambda *arguments, **options: connect(*arguments, **options, timeout=0)
    )
    with closing(connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EnvironmentProblem, match=r"cannot write the index .*locked.*--index"):
            schema.open_for_writing(path)
    assert path.stat().st_ino == before


def test_nothing_is_left_of_it_while_somebody_reads(small, path):
    indexer = indexed(small, path)
    with closing(schema.open_for_reading(path)):
        indexer.stop()
        lock = path.with_name("index.sqlite.lock")
        assert len(list(path.parent.iterdir())) == 4
        schema.remove(path)
        assert list(path.parent.iterdir()) == [lock]


def test_runs_come_and_go(small, path):
    indexer = indexed(small, path)
    shutil.copytree(small / "clips", small / "more" / "clips")
    indexer.catch_up()
    assert outcomes(indexer, "more/clips") == ALL
    with indexer.reading() as db:
        assert [one.run_name for one in find_clip(db, KEYS[0]).standings] == ["clips", "more/clips", "shards"]
    shutil.rmtree(small / "clips")
    indexer.catch_up()
    assert outcomes(indexer, "more/clips") == ALL
    with indexer.reading() as db:
        assert [run.name for run in read_runs(db)] == ["more/clips", "shards"]
        for table in ("entry", "kind", "message", "shard", "sample"):
            ((count,),) = db.execute(f"SELECT count(*) FROM {table} WHERE run NOT IN (SELECT id FROM run)")
            assert count == 0
        ((left,),) = db.execute("SELECT count(*) FROM tally WHERE kind NOT IN (SELECT id FROM kind)")
        assert left == 0


def test_a_thread_keeps_it_up_to_date(small, path, monkeypatch):
    monkeypatch.setattr(indexer_module, "REFRESH_S", 0.02)
    indexer = Indexer(path, runs=Runs(small))
    indexer.start()
    try:
        wait_until(lambda: not indexer.progress().is_behind and indexer.progress().whole > 0)
        append(small, [done(clip(6))])
        wait_until(lambda: outcomes(indexer).get("done") == 4)
    finally:
        indexer.stop()


def test_its_thread_has_ended_when_it_is_stopped(small, path, monkeypatch):
    begun, ended = threading.Event(), []

    def slow(indexer):
        begun.set()
        time.sleep(0.2)
        ended.append(indexer._db.execute("SELECT 1").fetchone())

    monkeypatch.setattr(Indexer, "catch_up", slow)
    indexer = Indexer(path, runs=Runs(small))
    indexer.start()
    begun.wait()
    indexer.stop()
    assert ended == [(1,)]


def test_readers_go_on_while_it_is_made_anew(small, path, monkeypatch):
    monkeypatch.setattr(indexer_module, "REFRESH_S", 0.01)
    indexer = indexed(small, path)
    indexer.start()
    problems = []

    def read() -> None:
        for _ in range(100):
            try:
                with indexer.reading() as db:
                    db.execute("SELECT count(*) FROM entry").fetchone()
            except sqlite3.Error as error:
                problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        indexer.distrust()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    wait_until(lambda: not indexer.progress().is_behind)
    indexer.stop()
    assert problems == []


def test_of_a_transaction_that_fails_nothing_stays(tmp_path):
    with closing(schema.open_for_writing(tmp_path / "index.sqlite")) as db:
        with suppress(KeyError), schema.transaction(db):
            db.execute("INSERT INTO label (name) VALUES ('half')")
            raise KeyError
        assert db.execute("SELECT name FROM label").fetchall() == [("",)]


def test_it_is_made_anew_once(small, path):
    indexer = indexed(small, path)
    indexer.distrust()
    made = []
    for _ in range(3):
        indexer.catch_up()
        made.append(indexer._db)
    assert made[0] is made[1] is made[2]
    indexer.stop()


def test_a_folder_that_holds_something_else_now_is_read_anew(small, path):
    indexer = indexed(small, path)
    shutil.rmtree(small / "clips")
    (small / "shards").rename(small / "clips")
    indexer.catch_up()
    assert outcomes(indexer) == {"done": 2}
    indexer.stop()


def test_a_reader_keeps_to_the_file_that_it_opened(small, path):
    indexer = indexed(small, path)
    reader = schema.open_for_reading(path)
    indexer.stop()
    schema.remove(path)
    with closing(reader), closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE other (number)")
        assert reader.execute("SELECT count(*) FROM run").fetchone() == (2,)


def test_a_run_that_nobody_thought_of_costs_no_other(small, path, monkeypatch, caplog):
    looks = []

    def files(feed):
        looks.append(feed)
        raise RuntimeError("odd \x1b[2J")

    monkeypatch.setattr("preprocess.serve.index.shards.ShardFeed._files", files)
    monkeypatch.setattr(indexer_module, "REFRESH_S", 0.02)
    indexer = Indexer(path, runs=Runs(small))
    indexer.start()
    wait_until(lambda: indexer.progress().whole > 0 and outcomes(indexer) == ALL and len(looks) > 2)
    assert [record.getMessage() for record in caplog.records] == ["the run shards is not in the index"]  # and once
    with indexer.reading() as db:
        note = {run.name: run.note for run in read_runs(db)}["shards"]
    assert note == r"it cannot be shown: RuntimeError('odd \x1b[2J')"
    monkeypatch.undo()
    wait_until(lambda: outcomes(indexer, "shards") == {"done": 2})
    indexer.stop()


@pytest.mark.parametrize("at", ["_list_runs", "_make_anew", "_remember_anew"])
def test_the_thread_goes_on_after_any_error(small, path, monkeypatch, at):
    monkeypatch.setattr(indexer_module, "REFRESH_S", 0.02)
    indexer = indexed(small, path)
    errors = [EnvironmentProblem("no space"), sqlite3.OperationalError("locked"), OSError(5, "it fails"), KeyError(1)]
    whole = getattr(Indexer, at)

    def failing(indexer, *arguments):
        if errors:
            raise errors.pop()
        return whole(indexer, *arguments)

    monkeypatch.setattr(Indexer, at, failing)
    indexer.distrust()
    indexer.start()
    append(small, [done(clip(6))])
    wait_until(lambda: not errors and indexer.progress().whole > 0 and outcomes(indexer).get("done") == 4)
    indexer.stop()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite3.OperationalError("disk full"), "cannot write the index .*disk full; tried again"),
        (sqlite3.DatabaseError("malformed"), "the index .* is made anew: malformed"),
        (KeyError(1), "the run clips is not in the index"),
    ],
)
def test_what_a_write_that_failed_undid_is_not_remembered(small, path, tmp_path, monkeypatch, caplog, error, told):
    monkeypatch.setattr(indexer_module, "REFRESH_S", 0.02)

    def shown(indexer):
        with indexer.reading() as db:
            said = sorted((one.text, one.clips) for one in messages(db, most=9))
            return find_clips(db, ClipQuery()).clips, labels(db), failures(db), said

    before = shown(indexed(small, tmp_path / "other.sqlite"))
    errors, put = [error], Entries.put

    def failing(entries, run, rows):
        put(entries, run, rows)
        if errors:
            raise errors.pop()

    monkeypatch.setattr(Entries, "put", failing)
    indexer = Indexer(path, runs=Runs(small))
    indexer.start()
    wait_until(lambda: not errors and shown(indexer) == before)
    indexer.stop()
    assert re.search(told, caplog.text)


def test_names_and_times_that_sqlite_does_not_take(small, path):
    folder = (small / "shards").rename(small / "shards\udcff")
    shutil.copytree(folder, small / "broken\udcff")
    (small / "broken\udcff" / "index.json").write_text("{}")
    for shard in folder.glob("*.h5"):
        os.utime(shard, ns=(0, 2**63 + 1_000_000_000))
    with indexed(small, path).reading() as db:
        runs = {run.name: run for run in read_runs(db)}
    assert outcomes(indexed(small, path), "shards\\udcff") == {"done": 2}
    assert "damaged" in runs["broken\\udcff"].note
