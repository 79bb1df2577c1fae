import errno
from pathlib import Path

import pytest

from preprocess.annotations import Clip
from preprocess.clips import find_clips
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.outcomes import ManifestEntry, Outcome, append_manifest
from tests.preprocess.conftest import numbered_frames, write_video


def test_manifest_gives_its_done_clips_by_key(tmp_path):
    for identifier, outcome in (("b" * 11, Outcome.DONE), ("a" * 11, Outcome.DONE), ("c" * 11, Outcome.BAD_MEDIA)):
        clip = Clip(youtube_id=identifier, time_start=2, time_end=5, split="val", label="yoga", line=2)
        append_manifest(tmp_path, ManifestEntry.of_clip(clip, outcome, path=f"val/yoga/{clip.key}.mp4", duration_s=3.0))
    clips = find_clips(tmp_path)
    assert [clip.key for clip in clips] == ["a" * 11 + "_000002_000005", "b" * 11 + "_000002_000005"]
    assert (clips[0].split, clips[0].label, clips[0].time_start, clips[0].time_end) == ("val", "yoga", 2, 5)


@pytest.mark.parametrize(
    ("folder", "split", "label"),
    [
        ("train/using segway", "train", "using segway"),
        ("validate/using_segway", "val", "using segway"),
        ("valid/using_segway", "val", "using segway"),
        ("Test/yoga", "test", "yoga"),
    ],
)
def test_any_tree_of_split_and_class(tmp_path, folder, split, label):
    (tmp_path / folder).mkdir(parents=True)
    write_video(tmp_path / folder / "v_x.mp4", numbered_frames(50))
    (clip,) = find_clips(tmp_path)
    assert (clip.key, clip.split, clip.label, clip.path) == ("v_x", split, label, f"{folder}/v_x.mp4")
    assert (clip.duration_s, clip.height, clip.width) == (pytest.approx(2, abs=0.1), 48, 64)


def test_broken_file_stays_in_the_plan(tmp_path):
    (tmp_path / "train" / "yoga").mkdir(parents=True)
    (tmp_path / "train" / "yoga" / "x.mp4").write_bytes(b"no video")
    (tmp_path / "train" / "yoga" / "notes.txt").write_bytes(b"no video either")
    assert [clip.key for clip in find_clips(tmp_path)] == ["x"]


@pytest.mark.parametrize("suffix", [".mpg", ".MPEG", ".wmv", ".asf", ".3gp"])
def test_suffixes_of_all_containers_are_taken(tmp_path, suffix):
    (tmp_path / "train" / "yoga").mkdir(parents=True)
    (tmp_path / "train" / "yoga" / f"x{suffix}").write_bytes(b"no video")
    assert [clip.key for clip in find_clips(tmp_path)] == ["x"]


def test_hidden_files_are_passed_over(tmp_path, caplog):
    for name in ("train/yoga/x.mp4", "train/yoga/._x.mp4", "train/.trash/y.mp4", ".old/yoga/z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no video")
    assert [clip.key for clip in find_clips(tmp_path)] == ["x"]
    assert caplog.text == ""


def test_what_cannot_be_looked_at_is_no_less_data(tmp_path, monkeypatch):
    for name in ("train/yoga", "train/golf", "lost+found/0/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "train" / "yoga" / "x.mp4").write_bytes(b"no video")
    (tmp_path / "train" / "yoga" / "y.mp4").symlink_to("/none/y.mp4")
    with pytest.raises(EnvironmentProblem, match=r"train/yoga/y\.mp4 cannot be looked at \(No such file"):
        find_clips(tmp_path)
    (tmp_path / "train" / "yoga" / "y.mp4").unlink()
    iterdir = Path.iterdir

    def of_others(path):
        if path.name in {"golf", "lost+found"}:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", of_others)
    with pytest.raises(EnvironmentProblem, match=r"train/golf cannot be looked at \(Permission denied\); see"):
        find_clips(tmp_path)
    (tmp_path / "train" / "golf").rmdir()
    assert [clip.key for clip in find_clips(tmp_path)] == ["x"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("holdout/yoga/a.mp4", "more/yoga/b.mp4"),
            "2 files of {} are left out, such as 'holdout/yoga/a.mp4': 'holdout', 'more' are none of train, val, ",
        ),
        (("train/yoga/a.txt",), "1 files of {} are left out, such as 'train/yoga/a.txt': videos end in .3gp, .asf, "),
        (
            ("train/a.mp4", "train/yoga/more/b.MP4", "a.txt"),
            "2 videos of {} are left out, such as 'train/a.mp4': a clip lies at SPLIT/CLASS/VIDEO",
        ),
    ],
)
def test_what_is_left_out_is_counted_and_named(tmp_path, caplog, names, words):
    for name in ("train/yoga/x.mp4", *names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no video")
    assert [clip.key for clip in find_clips(tmp_path)] == ["x"]
    (record,) = caplog.records
    assert record.getMessage().startswith(words.format(tmp_path))


def test_same_name_twice_fails(tmp_path):
    for name in ("train/a/x.mp4", "train/b/x.mp4", "train/b/y.mp4", "val/a/y.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    words = (
        rf"two clips are called x: train/a/x\.mp4 and train/b/x\.mp4; .* rename the second.*\(2 of {tmp_path} in all\)"
    )
    with pytest.raises(InvalidInput, match=words):
        find_clips(tmp_path)


def test_split_that_shards_do_not_know_fails(tmp_path):
    clip = Clip(youtube_id="a" * 11, time_start=2, time_end=5, split="holdout", label=None, line=2)
    append_manifest(tmp_path, ManifestEntry.of_clip(clip, Outcome.DONE))
    with pytest.raises(InvalidInput, match="has clips of split 'holdout'; shards know train, val, test, extra"):
        find_clips(tmp_path)


def test_nothing_there_fails(tmp_path):
    with pytest.raises(InvalidInput, match="holds no finished clips"):
        find_clips(tmp_path)
    (tmp_path / "train" / "yoga").mkdir(parents=True)
    (tmp_path / "train" / "yoga" / "x.mp4").write_bytes(b"no line of the manifest vouches for it")
    (tmp_path / "manifest.jsonl").write_bytes(b'{"key": "x", "outcome": "do')
    with pytest.raises(InvalidInput, match="holds no finished clips"):
        find_clips(tmp_path)
    with pytest.raises(InvalidInput, match="does not exist; `preprocess download` makes one"):
        find_clips(tmp_path / "none")
