"""Runs into an address: the same files as in a folder, whatever happens on the way."""

import hashlib
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preprocess import object_store, records
from preprocess.annotations import read_lists
from preprocess.clip_source import source_of
from preprocess.config import DownloadConfig, FlowConfig, WorkerConfig
from preprocess.download import download
from preprocess.errors import BadMedia, EnvironmentProblem, InvalidInput
from preprocess.estimate import estimate
from preprocess.outcomes import read_manifest
from preprocess.paths import UNFINISHED
from preprocess.sharding import make_shards
from preprocess.status.run_status import ShardCount, Status
from preprocess.target import FolderTarget, target_of, workspace
from preprocess.wanted import wanted_of
from tests.crash.commands import command
from tests.crash.small_runs import CLIPS, make_inputs

CONFIG = FlowConfig(short_side=48, clips_per_shard=1)
HERE = WorkerConfig(workers=0)
ADDRESS, SHARDS = "memory://bucket/clips", "memory://bucket/shards"
OF_A_FOLDER = {".lock", "status.json"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(object_store, "_PAUSE_S", 0.0)


@pytest.fixture(autouse=True)
def _empty_memory():
    yield
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A list with its videos, and the `clips` and `shards` that runs into folders make."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    fetch(folder, out=folder / "clips", store=None)
    make_shards(folder / "clips", folder / "shards", config=CONFIG, workers=HERE)
    return folder


def fetch(inputs, *, out, store=ADDRESS, clips=CLIPS):
    """A download of some clips of the list."""
    listed = read_lists([inputs / "list.csv"])
    config = DownloadConfig(out=out, store=store, source_dir=inputs / "videos")
    return download(wanted_of(listed, listed.clips[:clips]), config=config, workers=HERE)


def compute(staging, *, clips=ADDRESS, **options):
    target = target_of(SHARDS, staging=staging)
    return make_shards(source_of(clips), target, config=CONFIG, workers=HERE, **options)


def stored(address=""):
    """Content by name, of all objects below an address."""
    root = f"/{address.removeprefix('memory://')}".rstrip("/") + "/"
    return {
        name.removeprefix(root): bytes(file.getbuffer())
        for name, file in MemoryFileSystem.store.items()
        if name.startswith(root)
    }


def in_folder(folder):
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in OF_A_FOLDER}


def test_same_bytes_as_in_folders(inputs, tmp_path):
    assert fetch(inputs, out=tmp_path / "one").fetched == CLIPS
    assert stored(ADDRESS) == in_folder(inputs / "clips")
    report = compute(tmp_path / "two")
    assert (report.made, report.clips) == (CLIPS, CLIPS)
    made = stored(SHARDS)
    assert len(made.pop("made.jsonl").splitlines()) == CLIPS
    assert made == in_folder(inputs / "shards")
    # no clip and no shard on the driver's machine
    assert not list(tmp_path.rglob("*.mp4")) + list(tmp_path.rglob("*.h5"))


@pytest.mark.parametrize("staging", ["kept", "empty"])
def test_second_run_makes_nothing(inputs, tmp_path, staging):
    fetch(inputs, out=tmp_path / "one")
    compute(tmp_path / "two")
    before = stored()
    if staging == "empty":
        shutil.rmtree(tmp_path / "one")
        shutil.rmtree(tmp_path / "two")
    assert fetch(inputs, out=tmp_path / "one").fetched == 0
    assert compute(tmp_path / "two").made == 0
    assert stored() == before


def test_run_goes_on_from_another_machine_and_back(inputs, tmp_path):
    assert fetch(inputs, out=tmp_path / "one", clips=2).fetched == 2
    assert fetch(inputs, out=tmp_path / "other").fetched == CLIPS - 2
    assert fetch(inputs, out=tmp_path / "one").fetched == 0
    assert len(stored(ADDRESS)["manifest.jsonl"].splitlines()) == CLIPS


def test_what_was_deleted_or_cut_at_the_address_is_made_again(inputs, tmp_path, caplog):
    fetch(inputs, out=tmp_path / "one")
    compute(tmp_path / "two")
    before = stored(SHARDS)
    del MemoryFileSystem.store["/bucket/shards/train-00001-of-00003.h5"]
    MemoryFileSystem.store["/bucket/shards/train-00002-of-00003.h5"].truncate(1000)
    assert compute(tmp_path / "two").made == 2
    status = Status.read(tmp_path / "two")
    assert (status.total, status.already, status.outcomes) == (2, {"done": CLIPS - 2}, {"done": 2})
    assert status.shards == ShardCount(total=CLIPS, already=CLIPS - 2, made=2)
    assert "train-00001-of-00003.h5 is missing, made.jsonl says" in caplog.text
    assert "train-00002-of-00003.h5 has 1000 bytes, made.jsonl says" in caplog.text
    assert {name: content for name, content in stored(SHARDS).items() if name.endswith(".h5")} == {
        name: content for name, content in before.items() if name.endswith(".h5")
    }
    for name in [name for name in MemoryFileSystem.store if name.startswith("/bucket/clips")]:
        del MemoryFileSystem.store[name]
    assert fetch(inputs, out=tmp_path / "one").fetched == CLIPS


def test_clip_that_is_gone_from_the_address_ends_the_run(inputs, tmp_path):
    fetch(inputs, out=tmp_path / "one")
    name = next(name for name in stored(ADDRESS) if name.endswith(".mp4"))
    MemoryFileSystem().rm(f"/bucket/clips/{name}")
    with pytest.raises(EnvironmentProblem, match=f"{ADDRESS}/{re.escape(name)} is gone; get the clip again"):
        compute(tmp_path / "two")


def test_failed_clips_are_tried_again_when_asked(inputs, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise BadMedia("not decoded within 600 s")

    with monkeypatch.context() as patched:
        patched.setattr("preprocess.extract.read_clip", failing)
        compute(tmp_path / "two", clips=inputs / "clips")
    assert compute(tmp_path / "two", clips=inputs / "clips").made == 0
    assert compute(tmp_path / "two", clips=inputs / "clips", retry_failed=True).made == CLIPS
    assert compute(tmp_path / "two", clips=inputs / "clips", retry_failed=True).made == 0
    assert stored(SHARDS)["index.json"] == (inputs / "shards" / "index.json").read_bytes()


def test_replan_drops_the_old_shards(inputs, tmp_path):
    fetch(inputs, out=tmp_path / "one")
    compute(tmp_path / "two")
    target = target_of(SHARDS, staging=tmp_path / "two")
    other = FlowConfig(short_side=48, clips_per_shard=8)
    with pytest.raises(InvalidInput, match=r"memory://bucket/shards was planned with something else"):
        make_shards(source_of(ADDRESS), target, config=other, workers=HERE)
    make_shards(source_of(ADDRESS), target, config=other, workers=HERE, replan=True)
    assert [name for name in sorted(stored(SHARDS)) if name.endswith(".h5")] == [
        "train-00000-of-00001.h5",
        "val-00000-of-00001.h5",
    ]


def test_shards_of_a_plan_that_was_lost_are_made_again(inputs, tmp_path):
    compute(tmp_path / "two", clips=inputs / "clips")
    shutil.rmtree(tmp_path / "two")
    del MemoryFileSystem.store["/bucket/shards/plan.json"]
    target = target_of(SHARDS, staging=tmp_path / "two")
    other = FlowConfig(short_side=48, clips_per_shard=1, flow_quality=90)
    assert make_shards(source_of(inputs / "clips"), target, config=other, workers=HERE).made == CLIPS


def test_index_is_there_only_when_all_shards_are(inputs, tmp_path, monkeypatch):
    put, names = object_store.ObjectStore.put, []

    def failing(store, path, name):
        if name.startswith("val"):
            raise EnvironmentProblem("the network is gone")
        names.append(name)
        put(store, path, name)

    with monkeypatch.context() as patched:
        patched.setattr(object_store.ObjectStore, "put", failing)
        with pytest.raises(EnvironmentProblem, match="the network is gone"):
            compute(tmp_path / "two", clips=inputs / "clips")
    assert [name for name in stored(SHARDS) if name.startswith((UNFINISHED, "index", "val"))] == []
    assert len(stored(SHARDS)["made.jsonl"].splitlines()) == 3
    shutil.rmtree(tmp_path / "two")
    assert compute(tmp_path / "two", clips=inputs / "clips").made == 1
    assert stored(SHARDS)["index.json"] == (inputs / "shards" / "index.json").read_bytes()


def test_manifest_is_sent_while_the_run_goes(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_EVERY_S", 0.0)
    monkeypatch.setattr(records, "_SHARE", 1e9)
    put, lines = object_store.ObjectStore.put, []

    def noting(store, path, name):
        if name == "manifest.jsonl":
            lines.append(len(path.read_bytes().splitlines()))
        put(store, path, name)

    monkeypatch.setattr(object_store.ObjectStore, "put", noting)
    fetch(inputs, out=tmp_path / "one")
    assert lines == [1, 2, 3, 4]


def test_manifest_is_sent_every_minute_or_less_often_where_that_takes_long(tmp_path, monkeypatch):
    seconds, sent = [0.0], []
    monkeypatch.setattr(records, "time", SimpleNamespace(monotonic=lambda: seconds[0]))

    def put(path, name):
        sent.append(seconds[0])
        seconds[0] += 2 if len(sent) == 1 else 9

    store = SimpleNamespace(name="store", put=put, state=lambda name: None, sweep=lambda: None)
    with records.SentRecords(store, tmp_path, ["manifest.jsonl"]).kept() as kept:
        while seconds[0] < 400:
            (tmp_path / "manifest.jsonl").write_text(str(seconds[0]))
            kept.tick()
            seconds[0] += 1
    assert sent == [60, 122, 311, 400]  # 60 s after the end of one of 2 s, 180 s after one of 9 s; at the end


def test_journal_is_sent_while_the_run_goes(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_EVERY_S", 0.0)
    monkeypatch.setattr(records, "_SHARE", 1e9)
    put, sent = object_store.ObjectStore.put, []

    def noting(store, path, name):
        sent.append((name, len(path.read_bytes().splitlines())) if name == "made.jsonl" else name)
        put(store, path, name)

    monkeypatch.setattr(object_store.ObjectStore, "put", noting)
    compute(tmp_path / "two", clips=inputs / "clips")
    assert sent[0] == "plan.json"  # before the first shard: a run with another plan is refused from then on
    journal = [entry for entry in sent if entry[0] == "made.jsonl"]
    assert journal == [("made.jsonl", number + 1) for number in range(CLIPS)]


@pytest.mark.parametrize(
    "at", ["preprocess.store:store_clip:after:2", "preprocess.object_store:ObjectStore.put:before:4"]
)
def test_download_that_is_killed_is_finished_by_the_next(inputs, tmp_path, at):
    place = tmp_path / "store"
    run = ("download", inputs / "list.csv", "--source-dir", inputs / "videos", "--workers", 0)
    _killed_and_run_again(run, place, folder=tmp_path, at=at)
    assert read_manifest(place).keys() == read_manifest(inputs / "clips").keys()
    for name in ("list.csv", "missing.csv"):
        assert (place / name).read_bytes() == (inputs / "clips" / name).read_bytes()
    assert _videos(place) == _videos(inputs / "clips")


@pytest.mark.parametrize("at", ["preprocess.sharding:make_shard:after:2", "preprocess.shards.write:publish:after:2"])
def test_flow_that_is_killed_is_finished_by_the_next(inputs, tmp_path, at):
    place = tmp_path / "store"
    run = ("flow", inputs / "clips", "--cpus", 0, "--short-side", 48, "--clips-per-shard", 1)
    _killed_and_run_again(run, place, folder=tmp_path, at=at)
    made = in_folder(place)
    del made["made.jsonl"]
    assert made == in_folder(inputs / "shards")


def _killed_and_run_again(arguments, place, *, folder, at):
    (folder / "tmp").mkdir()
    environment = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    arguments = ("preprocess", *arguments, "--out", f"file://{place}")
    with command(*arguments, folder=folder, at=at, **environment) as run:
        assert run.wait() == -9, run.log
    assert not (place / "index.json").exists()
    with command(*arguments, folder=folder, **environment) as run:
        assert run.wait() == 0, run.log
    assert not (place / UNFINISHED).exists()
    assert list((folder / "tmp").glob("kineflow-*")) == []


def _videos(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.mp4")}


def test_a_folder_tells_what_it_holds(tmp_path, monkeypatch):
    target = FolderTarget(folder=tmp_path / "new" / "clips")
    assert target.free_bytes() > 0
    with target.scratch() as folder:
        assert folder.parent == workspace(target.folder)
    with target.making("val/a.mp4") as path:
        path.write_bytes(b"clip")
    has, digest = target.sized(), hashlib.sha256(b"clip").hexdigest()
    assert target.shared == (target.folder,)
    asked = [("val/a.mp4", 4), ("val/a.mp4", 5), ("val", 4), ("none", 4), ("val/a.mp4/b", 4)]
    for there in (has, lambda name, size: target.holds(name, size=size, sha256=digest)):
        assert [there(name, size) for name, size in asked] == [True, False, False, False, False]
    assert target.holds("val/a.mp4", size=4, sha256="0" * 64) is False
    monkeypatch.setattr("preprocess.target.shutil.disk_usage", lambda place: SimpleNamespace(free=100))
    assert (target.free_bytes(), target.free_bytes(without=["val/a.mp4", "val", "none"])) == (100, 104)
    with pytest.raises(EnvironmentProblem, match=r"x/none cannot be looked at \(File name too long\); see to its disk"):
        has("x" * 300 + "/none", 4)
    for _ in range(2):
        target.remove("val/a.mp4")
    assert not has("val/a.mp4", 4)
    with pytest.raises(EnvironmentProblem, match=r"clips/val cannot be deleted: Is a directory; move it away"):
        target.remove("val")


def test_an_address_tells_what_it_holds(tmp_path):
    target = target_of(ADDRESS, staging=tmp_path)
    with target.making("val/a.mp4") as path:
        path.write_bytes(b"clip")
    asked = [("val/a.mp4", 4), ("val/a.mp4", 5), ("none", 4)]
    for there in (target.sized(), lambda name, size: target.holds(name, size=size, sha256="")):
        assert [there(name, size) for name, size in asked] == [True, False, False]
    assert target.free_bytes(without=["val/a.mp4"]) is None
    target.remove("val/a.mp4")
    assert stored(ADDRESS) == {}


def test_address_that_is_only_read_is_no_target(tmp_path):
    with pytest.raises(InvalidInput, match=r"^https://example\.org/clips is read-only"):
        target_of("https://example.org/clips", staging=tmp_path)


def test_estimate_reads_clips_at_an_address(inputs, tmp_path):
    fetch(inputs, out=tmp_path / "one")
    target = target_of(SHARDS, staging=tmp_path / "two")
    found = estimate(source_of(ADDRESS), target, config=CONFIG, workers=HERE)
    assert (found.clips, found.failed, found.free_bytes) == (CLIPS, {}, None)
    assert not (tmp_path / "two").exists()


def test_address_without_a_manifest_fails():
    with pytest.raises(InvalidInput, match=r"memory://bucket/clips holds no manifest\.jsonl; `preprocess download`"):
        source_of(ADDRESS).clips()


def test_two_runs_with_one_staging_folder_fail(inputs, tmp_path):
    from preprocess.paths import exclusive, make_folder

    make_folder(tmp_path / "one")
    with exclusive(tmp_path / "one"), pytest.raises(EnvironmentProblem, match="is in use by process"):
        fetch(inputs, out=tmp_path / "one")


def test_finished_folder_as_staging_is_refused_and_left_alone(inputs):
    before = in_folder(inputs / "shards")
    with pytest.raises(InvalidInput, match=r"holds what a run into it made \(plan\.json\); choose another --staging"):
        compute(inputs / "shards", clips=inputs / "clips", replan=True)
    with pytest.raises(InvalidInput, match=r"made \(list\.csv\); choose another --staging"):
        fetch(inputs, out=inputs / "clips")
    assert (in_folder(inputs / "shards"), stored()) == (before, {})


def test_staging_folder_by_default_is_one_for_each_address(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = {target_of(address).folder for address in (ADDRESS, f"{ADDRESS}/", SHARDS)}
    assert len(folders) == 2
    assert all(folder.parent == tmp_path / "kineflow" / "staging" for folder in folders)
    assert target_of("clips") == FolderTarget(folder=Path("clips"))


def test_cache_folder_that_cannot_be_made_names_the_option(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblem, match=r"cannot make the folder .*: Not a directory; .* with --staging$"):
        target_of(ADDRESS)
    # as in a container whose user has an id that nobody wrote down
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(EnvironmentProblem, match=r"no home folder; name a place with --staging"):
        target_of(ADDRESS)


def test_staging_folder_for_a_folder_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"--staging .* is for addresses .*; clips is a folder"):
        target_of(Path("clips"), staging=tmp_path)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_clip_that_is_done_and_not_at_its_address_is_had_again(inputs, tmp_path, damage):
    fetch(inputs, out=tmp_path / "one")
    before = stored(ADDRESS)
    name = next(name for name in before if name.endswith(".mp4"))
    place = f"/{ADDRESS.removeprefix('memory://')}/{name}"
    files = MemoryFileSystem()
    files.rm(place)
    if damage == "cut":
        files.pipe_file(place, before[name][:-1])
    with pytest.raises(
        EnvironmentProblem, match=r"is gone; get the clip again|is not the file that manifest\.jsonl names"
    ):
        compute(tmp_path / "two")
    assert fetch(inputs, out=tmp_path / "one").fetched == 1
    assert compute(tmp_path / "two").clips == CLIPS
