"""A flow run goes on where another ended: what it reads, in which order, where, and what it says of it."""

import hashlib
import os
from dataclasses import replace

import pytest

from preprocess import sharding
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadShard, EnvironmentProblem, WorkerDied
from preprocess.made_shards import FolderCheck
from preprocess.paths import exclusive, temporary_beside
from preprocess.sharding import evenly_mixed, make_shards
from preprocess.shards.index import INDEX_NAME
from preprocess.status.run_status import RunState, ShardCount, Status
from tests.preprocess.conftest import textured_frames, write_video

CONFIG = FlowConfig(short_side=48, clips_per_shard=1)
NAMES = [f"train-0000{number}-of-00004.h5" for number in range(4)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three clips and one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "train" / "yoga").mkdir(parents=True)
    for number in range(3):
        path = folder / "train" / "yoga" / f"clip_{number}.mp4"
        write_video(path, textured_frames(4, height=48, width=64, seed=number))
    (folder / "train" / "yoga" / "clip_3.mp4").write_bytes(b"\0" * 3000)
    return folder


@pytest.fixture
def shards(clips, tmp_path):
    """Four shards whose run did not come to its end."""
    run(clips, tmp_path / "shards")
    (tmp_path / "shards" / INDEX_NAME).unlink()
    return tmp_path / "shards"


def run(clips, out, *, workers=0, **options):
    return make_shards(clips, out, config=CONFIG, workers=WorkerConfig(workers=workers), **options)


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)
    return bytes(content)


@pytest.fixture
def events(monkeypatch):
    """What is done with which shard, in order."""
    seen = []

    def noted(what, owner, name, number):
        real = getattr(owner, name)

        def call(*arguments, **options):
            seen.append((what, arguments[number].name))
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    noted("check", FolderCheck, "find", 1)
    noted("make", sharding, "make_shard", 0)
    return seen


def test_new_shards_do_not_wait_until_all_old_ones_are_checked(clips, shards, events):
    before = [(shards / name).read_bytes() for name in NAMES]
    for name in NAMES[2:]:
        (shards / name).unlink()
    assert run(clips, shards).made == 2
    made = [name for what, name in events if what == "make"]
    # each one is looked for: its worker may have died when it was in its place
    assert [name for what, name in events if what == "check"] == [NAMES[2], NAMES[0], NAMES[3], NAMES[1]]
    assert made == NAMES[2:]
    assert events.index(("make", NAMES[2])) < events.index(("check", NAMES[0]))
    assert [(shards / name).read_bytes() for name in NAMES] == before


def test_each_byte_of_a_shard_is_read_once(clips, shards, monkeypatch):
    (shards / NAMES[0]).unlink()
    read = []
    real = os.preadv

    def counted(*arguments):
        read.append(real(*arguments))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    monkeypatch.setattr(hashlib, "file_digest", None)
    run(clips, shards)
    assert sum(read) == sum((shards / name).stat().st_size for name in NAMES)


@pytest.mark.ray
def test_workers_check_and_the_driver_says_what_is_made_again(clips, shards, monkeypatch, caplog):
    before = (shards / NAMES[1]).read_bytes()
    spoil(shards / NAMES[1])
    # the driver reads no shard
    monkeypatch.setattr("preprocess.made_shards.verify_shard", None)
    report = run(clips, shards, workers=2)
    assert (report.made, report.clips, list(report.failed)) == (1, 3, ["clip_3"])
    assert f"made again: {shards / NAMES[1]}: clip clip_1: " in caplog.text
    assert (shards / NAMES[1]).read_bytes() == before


@pytest.mark.parametrize("of", ["other clips", "other settings"])
def test_sound_shard_of_something_else_is_made_again(clips, shards, tmp_path, caplog, of):
    before = (shards / NAMES[0]).read_bytes()
    if of == "other settings":
        config = replace(CONFIG, rgb_quality=50)
        make_shards(clips, tmp_path / "others", config=config, workers=WorkerConfig(workers=0))
    other = shards / NAMES[1] if of == "other clips" else tmp_path / "others" / NAMES[0]
    (shards / NAMES[0]).write_bytes(other.read_bytes())
    assert run(clips, shards).made == 1
    assert f"made again: {shards / NAMES[0]} does not hold what is planned for it" in caplog.text
    assert (shards / NAMES[0]).read_bytes() == before


def test_shard_whose_worker_died_again_and_again_fails_the_run(clips, shards, monkeypatch):
    (shards / NAMES[0]).unlink()
    (shards / NAMES[1]).unlink()
    real = sharding.compute_shards

    def dying(*arguments, **options):
        for shard, result in real(*arguments, **options):
            yield shard, WorkerDied("its worker process died") if shard.name == NAMES[0] else result

    monkeypatch.setattr(sharding, "compute_shards", dying)
    with pytest.raises(BadShard, match=rf"1 of 4 shards could not be made \({NAMES[0]}: its worker process died\)"):
        run(clips, shards)
    assert Status.read(shards).state is RunState.STOPPED
    assert (shards / NAMES[1]).exists()
    assert not (shards / INDEX_NAME).exists()


def test_shard_that_cannot_be_read_here_is_not_made_again(clips, shards, monkeypatch):
    before = (shards / NAMES[0]).read_bytes()
    (shards / NAMES[1]).unlink()

    def unreadable(check, shard):
        raise EnvironmentProblem("the disk fails")

    monkeypatch.setattr(FolderCheck, "find", unreadable)
    with pytest.raises(EnvironmentProblem, match="the disk fails"):
        run(clips, shards)
    assert (shards / NAMES[0]).read_bytes() == before
    assert not (shards / NAMES[1]).exists()


def test_run_that_is_refused_leaves_the_files_of_the_other_alone(clips, tmp_path):
    unfinished = temporary_beside(tmp_path / NAMES[0])
    unfinished.touch()
    with exclusive(tmp_path), pytest.raises(EnvironmentProblem, match="in use by"):
        run(clips, tmp_path)
    assert unfinished.exists()
    run(clips, tmp_path)  # the other one was killed
    assert not unfinished.exists()


def test_status_tells_what_was_there_from_what_was_made(clips, shards):
    (shards / NAMES[0]).unlink()
    spoil(shards / NAMES[2])
    totals = []
    report = run(clips, shards, on_progress=totals.append)
    status = Status.read(shards)
    assert totals == [1, 2]  # the damaged one was not known of at first
    assert (status.total, status.finished, status.outcomes) == (2, 2, {"done": 2})
    assert status.already == {"done": 1, "bad_media": 1}
    assert status.shards == ShardCount(total=4, already=2, made=2)
    assert status.work.bytes == sum((shards / name).stat().st_size for name in (NAMES[0], NAMES[2]))
    assert (report.made, report.shards) == (2, 4)


def test_room_is_needed_for_what_is_missing_alone(clips, shards, monkeypatch):
    spoil(shards / NAMES[1])
    monkeypatch.setattr("preprocess.target.FolderTarget.free_bytes", lambda target, without: 1000)
    assert run(clips, shards).made == 1
    (shards / NAMES[2]).unlink()
    with pytest.raises(EnvironmentProblem, match="the 1 shards to make are planned at"):
        run(clips, shards)


def test_shard_that_its_worker_could_publish_before_it_died_is_kept(clips, tmp_path, monkeypatch):
    """The second try finds it, and the run counts it as its own."""
    real = sharding._keep_or_make

    def twice(*arguments, **options):
        real(*arguments, **options)
        return real(*arguments, **options)

    monkeypatch.setattr(sharding, "_keep_or_make", twice)
    run(clips, tmp_path / "shards")
    status = Status.read(tmp_path / "shards")
    assert (status.total, status.outcomes, status.already) == (4, {"done": 3, "bad_media": 1}, {})
    assert status.shards == ShardCount(total=4, already=0, made=4)


@pytest.mark.parametrize(
    ("parts", "mixed"), [(("abcdef", "XY"), "aXbcdYef"), (("a", "XYZ"), "aXYZ"), (("", "XY"), "XY"), (("", ""), "")]
)
def test_parts_are_mixed_evenly(parts, mixed):
    assert "".join(evenly_mixed(*parts)) == mixed
