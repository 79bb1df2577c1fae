"""Tests of preprocess.indexing and preprocess.video_files."""

import csv
import os
import shutil
from dataclasses import replace

import pytest

from preprocess import indexing
from preprocess.clips import find_clips
from preprocess.config import WorkerConfig
from preprocess.errors import EnvironmentProblem, InvalidInput, WorkerDied
from preprocess.indexing import index_videos
from preprocess.outcomes import MANIFEST_NAME, append_manifest, read_manifest
from preprocess.paths import exclusive, make_folder, temporary_beside
from tests.preprocess.conftest import numbered_frames, write_video
from tests.preprocess.official_splits import write_hmdb51_splits

# two videos with splits in every fold, one of which is left out of fold 1
LISTS = {
    "wave_test_split1": ["a(!)#&;.avi 1", "b.avi 2"],
    "wave_test_split2": ["a(!)#&;.avi 2", "b.avi 1"],
    "walk_test_split1": ["c.avi 0"],
    "walk_test_split2": ["c.avi 1"],
}


@pytest.fixture
def splits(tmp_path):
    return write_hmdb51_splits(tmp_path / "splits", **LISTS)


@pytest.fixture
def folder(tmp_path):
    """The three videos, in folders of their classes."""
    folder = tmp_path / "videos"
    for name, frames in (("wave/a(!)#&;", 10), ("wave/b", 20), ("walk/c", 30)):
        path = folder / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, numbered_frames(frames), container="avi", codec="mpeg4")
    return folder


@pytest.fixture
def run(folder, splits):
    def call(**options):
        values = {"dataset": "hmdb51", "splits": splits, "workers": WorkerConfig(workers=0), **options}
        return index_videos(folder, **values)

    return call


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_video_is_a_clip(run, folder):
    report = run()
    assert (report.outcomes, report.decoded, report.missing, report.unlisted) == ({"done": 3}, 3, 0, 0)
    assert report.splits == {"train": 1, "test": 1, "extra": 1}
    assert [(clip.key, clip.path, clip.label, clip.split) for clip in find_clips(folder)] == [
        ("a(!)#&;", "wave/a(!)#&;.avi", "wave", "train"),
        ("b", "wave/b.avi", "wave", "test"),
        ("c", "walk/c.avi", "walk", "extra"),
    ]
    entry = read_manifest(folder)["b"]
    assert (entry.frame_count, entry.width, entry.height, entry.fps) == (20, 64, 48, 25.0)
    assert (entry.duration_s, entry.time_start, entry.time_end) == (0.8, 0, 1)


def test_lists_of_all_folds(run, folder):
    run()
    assert [row["split"] for row in rows(folder / "fold1.csv")] == ["train", "test", "extra"]
    assert [row["split"] for row in rows(folder / "fold2.csv")] == ["test", "train", "train"]
    assert rows(folder / "fold3.csv")[2] == {"key": "c", "label": "walk", "split": "extra"}
    assert rows(folder / "missing.csv") == []


def test_running_again_decodes_nothing(run, folder):
    run()
    before = (folder / MANIFEST_NAME).read_bytes()
    assert run().decoded == 0
    assert (folder / MANIFEST_NAME).read_bytes() == before


def test_running_again_decodes_what_changed(run, folder):
    run()
    write_video(folder / "wave" / "b.avi", numbered_frames(25), container="avi", codec="mpeg4")
    assert run().decoded == 1
    assert read_manifest(folder)["b"].frame_count == 25


def test_moved_video_is_not_decoded_again(run, folder):
    run()
    (folder / "wave" / "b.avi").rename(folder / "b.avi")
    assert run().decoded == 0
    assert read_manifest(folder)["b"].path == "b.avi"


def test_another_fold_changes_the_splits_only(run, folder):
    run()
    report = run(fold=2)
    assert report.decoded == 0
    assert [clip.split for clip in find_clips(folder)] == ["test", "train", "train"]


def test_manifest_never_mixes_folds(run, folder, monkeypatch):
    run()
    (folder / "wave" / "b.avi").unlink()

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "run_tasks", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(fold=2)
    assert [entry.split for entry in read_manifest(folder).values()] == ["test", "train", "train"]


def test_killed_run_goes_on_where_it_stopped(run, folder):
    seen = []

    def stop(entry, total):
        seen.append((entry.key, total))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_progress=stop)
    assert seen == [("a(!)#&;", 3), ("b", 3)]
    assert run().decoded == 1
    assert len((folder / MANIFEST_NAME).read_text().splitlines()) == 3


def test_what_is_missing_is_named(run, folder, splits):
    (folder / "wave" / "a(!)#&;.avi").unlink()
    (folder / "walk" / "c.avi").write_bytes(b"no video")
    (folder / "walk" / "unheard of.mp4").write_bytes(b"")
    (splits / "walk_test_split3.txt").write_text("\n \nwhat\n=1+2.avi 1\n")
    report = run()
    assert report.outcomes == {"done": 1, "unavailable": 2, "bad_media": 1}
    assert (report.refused, report.missing, report.unlisted, report.splits) == (1, 4, 1, {"test": 1})
    found = [
        (row["key"], row["list"], row["line"], row["status"], row["cause"]) for row in rows(folder / "missing.csv")
    ]
    assert found == [
        ("'=1+2", "", "", "unavailable", "not_found"),  # or a spreadsheet would run it
        ("a(!)#&;", "", "", "unavailable", "not_found"),
        ("c", "", "", "bad_media", "damaged"),
        ("", "walk_test_split3.txt", "3", "refused", ""),
        ("", "", "", "unlisted", ""),
    ]
    assert rows(folder / "missing.csv")[4]["reason"] == "no list names it: walk/unheard of.mp4"
    assert [row["key"] for row in rows(folder / "fold1.csv")] == ["b"]


def test_broken_video_is_tried_again(run, folder):
    good = (folder / "wave" / "b.avi").read_bytes()
    (folder / "wave" / "b.avi").write_bytes(good[:2000])
    assert run().outcomes["bad_media"] == 1
    assert run().decoded == 1
    (folder / "wave" / "b.avi").write_bytes(good)
    assert run().outcomes == {"done": 3}


def test_video_whose_worker_dies_is_quarantined(run, folder, monkeypatch):
    def dying(function, items, **options):
        for item in items:
            yield item, WorkerDied("its worker process died")

    monkeypatch.setattr(indexing, "run_tasks", dying)
    report = run()
    assert (report.outcomes, report.missing) == ({"quarantined": 3}, 3)
    assert {row["cause"] for row in rows(folder / "missing.csv")} == {"worker_died"}


def test_video_that_is_gone_leaves_the_manifest_of_done_clips(run, folder):
    run()
    (folder / "wave" / "b.avi").unlink()
    assert run().outcomes == {"done": 2, "unavailable": 1}
    assert [clip.key for clip in find_clips(folder)] == ["a(!)#&;", "c"]


def test_flat_folder_capitals_and_hidden_files(run, folder):
    for path in list(folder.glob("*/*.avi")):
        path.rename(folder / path.name.replace(".avi", ".AVI"))
    (folder / "._b.avi").write_bytes(b"")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "b.avi").write_bytes(b"")
    report = run()
    assert (report.outcomes, report.unlisted) == ({"done": 3}, 0)


def test_of_two_files_the_one_in_the_folder_of_its_class_is_taken(run, folder):
    (folder / "a copy").mkdir()
    shutil.copy(folder / "wave" / "b.avi", folder / "a copy" / "b.avi")
    assert run().unlisted == 1
    assert read_manifest(folder)["b"].path == "wave/b.avi"
    assert rows(folder / "missing.csv")[0]["reason"] == "wave/b.avi is taken: a copy/b.avi"


def test_symbolic_link_is_bad_media(run, folder, tmp_path):
    (folder / "wave" / "b.avi").rename(tmp_path / "b.avi")
    (folder / "wave" / "b.avi").symlink_to(tmp_path / "b.avi")
    assert run().outcomes == {"done": 2, "bad_media": 1}
    (row,) = rows(folder / "missing.csv")
    assert row["reason"] == "b.avi: a link, which is not followed; put the file itself there"


def test_link_to_a_folder_is_told_and_not_followed(run, folder, tmp_path, caplog):
    (folder / "wave").rename(tmp_path / "wave")
    (folder / "wave").symlink_to(tmp_path / "wave")
    assert run().outcomes == {"done": 1, "unavailable": 2}
    assert f"links are not followed, of which {folder} has 1, such as {folder / 'wave'}" in caplog.text


def test_other_folder_gets_hard_links_and_the_videos_stay_alone(run, folder, tmp_path):
    before = sorted(folder.rglob("*"))
    out = tmp_path / "clips"
    assert run(out=out).outcomes == {"done": 3}
    assert sorted(folder.rglob("*")) == before
    assert (out / "wave" / "b.avi").samefile(folder / "wave" / "b.avi")
    assert [clip.path for clip in find_clips(out)] == ["wave/a(!)#&;.avi", "wave/b.avi", "walk/c.avi"]
    assert run(out=out).decoded == 0
    assert not list(out.rglob(".*.tmp*"))


def test_copies_where_no_link_can_be_made(run, folder, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    out, synced, real = tmp_path / "clips", set(), os.fsync

    def sync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", sync)
    run(out=out)
    copied, original = out / "wave" / "b.avi", folder / "wave" / "b.avi"
    assert not copied.samefile(original)
    assert copied.stat().st_ino in synced, "a crash could leave a part of it that counts as whole"
    assert copied.read_bytes() == original.read_bytes()
    inode = copied.stat().st_ino
    run(out=out)
    assert copied.stat().st_ino == inode


def test_link_that_is_gone_is_made_again(run, tmp_path):
    out = tmp_path / "clips"
    run(out=out)
    (out / "wave" / "b.avi").unlink()
    assert run(out=out).decoded == 0
    assert (out / "wave" / "b.avi").is_file()


def test_changed_video_replaces_its_link(run, folder, tmp_path):
    out = tmp_path / "clips"
    run(out=out)
    (folder / "wave" / "b.avi").unlink()
    write_video(folder / "wave" / "b.avi", numbered_frames(25), container="avi", codec="mpeg4")
    assert run(out=out).decoded == 1
    assert (out / "wave" / "b.avi").samefile(folder / "wave" / "b.avi")


def test_folder_that_another_run_holds_fails(run, tmp_path):
    make_folder(tmp_path / "clips")
    with exclusive(tmp_path / "clips"), pytest.raises(EnvironmentProblem, match="is in use by process"):
        run(out=tmp_path / "clips")


def test_what_killed_runs_left_goes_but_nothing_from_a_folder_of_videos(run, folder, tmp_path):
    left, theirs = (temporary_beside(place / "wave" / "b.avi") for place in (tmp_path / "clips", folder))
    left.parent.mkdir(parents=True)
    for path in (left, theirs):
        path.write_bytes(b"x")
    for out in (tmp_path / "clips", None, tmp_path):
        run(out=out)
    assert (left.exists(), theirs.exists()) == (False, True)


def test_other_folder_inside_the_folder_of_videos(run, folder):
    out = folder / "clips"
    assert run(out=out).unlisted == 0
    assert run(out=out).unlisted == 0


def test_manifest_of_something_else_fails(run, folder):
    run()
    entry = replace(read_manifest(folder)["b"], source="youtube")
    append_manifest(folder, entry)
    with pytest.raises(InvalidInput, match=r"manifest\.jsonl is of 'youtube', not of hmdb51; choose another --out"):
        run()


def test_videos_are_not_indexed_where_shards_are(run, folder):
    (folder / "plan.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"holds shards \(plan\.json\); choose another --out"):
        run()
    assert not (folder / "manifest.jsonl").exists()


@pytest.mark.parametrize("name", ["manifest.jsonl", "fold2.csv", "missing.csv"])
def test_file_of_somebody_else_is_not_written_over(run, folder, name):
    (folder / name).write_text("mine\nand mine\n")
    with pytest.raises(InvalidInput, match=f"{name} is there already and not of `preprocess index`"):
        run()
    assert (folder / name).read_text() == "mine\nand mine\n"


def test_torn_first_line_of_a_killed_run_is_no_obstacle(run, folder):
    (folder / MANIFEST_NAME).write_text('{"key": "b')
    assert run().outcomes == {"done": 3}
    assert len((folder / MANIFEST_NAME).read_text().splitlines()) == 3


def test_path_that_is_not_utf8_is_named(run, folder):
    (folder / "wave").rename(folder / "caf\udce9")  # the byte e9, latin-1
    report = run()
    assert (report.outcomes, report.unlisted) == ({"done": 1, "unavailable": 2}, 2)
    assert rows(folder / "missing.csv")[2]["reason"] == r"its path is not printable text: caf\udce9/a(!)#&;.avi"


def test_folder_without_any_of_the_videos_fails(run, folder, tmp_path):
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(InvalidInput, match="has none of the 3 videos that the splits of hmdb51 name"):
        run(out=tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(("options", "message"), [({"fold": 4}, "fold must be one of 1, 2, 3, got 4")])
def test_wrong_option_fails(run, options, message):
    with pytest.raises(InvalidInput, match=message):
        run(**options)


def test_folder_that_is_not_there_fails(run, folder):
    shutil.rmtree(folder)
    with pytest.raises(InvalidInput, match=r"folder of videos .* does not exist"):
        run()


def test_folder_that_cannot_be_made_fails(run, folder):
    with pytest.raises(EnvironmentProblem, match="cannot make the folder"):
        run(out=folder / "wave" / "b.avi" / "clips")


def test_place_that_is_taken_fails_and_what_was_done_stays(run, tmp_path):
    out = tmp_path / "clips"
    out.mkdir()
    (out / "walk").write_bytes(b"")
    with pytest.raises(EnvironmentProblem, match=r"cannot link or copy .*walk/c\.avi"):
        run(out=out)
    (out / "walk").unlink()
    assert run(out=out).decoded == 1


@pytest.mark.ray
def test_workers_do_the_same(run, folder):
    alone = run()
    manifest = (folder / MANIFEST_NAME).read_bytes()
    (folder / MANIFEST_NAME).unlink()
    assert run(workers=WorkerConfig(workers=2)) == alone
    assert (folder / MANIFEST_NAME).read_bytes() == manifest
