"""Tests of preprocess.commands.index, through to shards."""

import shutil
import signal

import click
import pytest
from click.testing import CliRunner

from preprocess.commands.flow import flow
from preprocess.commands.index import index
from preprocess.console import CommandGroup
from preprocess.labels import label_table
from preprocess.shards import ShardSet
from tests.preprocess.conftest import numbered_frames, write_video
from tests.preprocess.official_splits import write_ucf101_splits


@click.group(cls=CommandGroup)
def main():
    """The two commands."""


main.add_command(index)
main.add_command(flow)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("v_YoYo_g01_c01", "v_Archery_g01_c01"):
        write_video(videos / f"{name}.avi", numbered_frames(5), container="avi", codec="mpeg4")
    return videos


@pytest.fixture
def splits(tmp_path):
    lists = {"trainlist01": ["YoYo/v_YoYo_g01_c01.avi 101"], "testlist02": ["Archery/v_Archery_g01_c01.avi"]}
    return write_ucf101_splits(tmp_path / "splits", **lists)


def test_says_what_it_found(folder, splits):
    result = run("index", "ucf101", folder, "--splits", splits, "--workers", 0)
    assert (result.exit_code, result.output) == (
        0,
        f"2 videos = 2 done (2 decoded by this run) in {folder}\nfold 1: 1 train + 1 extra\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_exits_1_and_says_how_to_go_on(number, folder, splits, monkeypatch):
    monkeypatch.setattr("preprocess.indexing.index_file", lambda *_, **__: signal.raise_signal(number))
    mine = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM is not handled"))
    try:
        result = run("index", "ucf101", folder, "--splits", splits, "--workers", 0)
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert result.exit_code == 1
    assert result.output.endswith("stopped; what is done stays done, run the same command again to go on\n")


def test_something_missing_exits_1_and_names_it(folder, splits):
    (folder / "v_YoYo_g01_c01.avi").write_bytes(b"no video")
    (folder / "v_Nobody_g01_c01.avi").write_bytes(b"")
    with (splits / "trainlist01.txt").open("a") as lines:
        lines.write("YoYo/v_YoYo_g02_c01.avi 7\n")
    result = run("index", "ucf101", folder, "--splits", splits, "--workers", 0)
    assert result.exit_code == 1
    assert "v_YoYo_g01_c01: v_YoYo_g01_c01.avi: not a video file" in result.output
    assert "2 videos = 1 done + 1 bad_media" in result.output
    refused = "1 of them refused lines of the splits"
    assert f"missing: 2 ({refused}), each with its reason in {folder}/missing.csv" in result.output
    assert f"unlisted: 1 videos that no list names, in {folder}/missing.csv" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "ucf50", "DIR", "--splits", "SPLITS"), "'ucf50' is not one of 'ucf101', 'hmdb51'"),
        (("index", "ucf101", "DIR"), "Missing option '--splits'"),
        (("index", "ucf101", "DIR", "--splits", "SPLITS", "--fold", "4"), "4 is not in the range 1<=x<=3"),
        (("index", "ucf101", "DIR", "--splits", "none"), "folder of splits none cannot be read: No such file"),
        (("index", "hmdb51", "DIR", "--splits", "SPLITS"), "lacks 153 of 153 files"),
        (("index", "ucf101", "none", "--splits", "SPLITS"), "folder of videos none does not exist"),
        (
            ("flow", "DIR", "--out", "o", "--labels", "kinetics500"),
            "label file kinetics500 does not exist; give a file or ",
        ),
        (("flow", "DIR", "--out", "o", "--labels", "DIR"), "label file DIR cannot be read"),
        (("flow", "DIR", "--out", "o", "--labels", "BINARY"), "label file BINARY cannot be read"),
        (("flow", "DIR", "--out", "o", "--labels", "TWICE"), "label file TWICE, line 2: 'yoga' is empty or repeated"),
    ],
)
def test_wrong_usage(folder, splits, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    folder.rename("DIR")
    splits.rename("SPLITS")
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "TWICE").write_text("yoga\nyoga\n")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def shard_labels(folder, split):
    clips = ShardSet(folder, split)
    return {key.decode(): clips.labels[label] for key, label in zip(clips.clips.key, clips.clips.label, strict=True)}


def test_no_clip_is_lost_on_the_way_to_shards(folder, splits, tmp_path):
    run("index", "ucf101", folder, "--splits", splits, "--workers", 0)
    options = ("--short-side", 32, "--cpus", 0, "--labels", "ucf101")
    assert "2 clips" in run("flow", folder, "--out", tmp_path / "shards", *options).output
    assert ShardSet(tmp_path / "shards", "train").index.splits() == ["train", "extra"]
    assert ShardSet(tmp_path / "shards", "train").labels == label_table("ucf101")
    assert shard_labels(tmp_path / "shards", "train") == {"v_YoYo_g01_c01": "YoYo"}
    assert shard_labels(tmp_path / "shards", "extra") == {"v_Archery_g01_c01": "Archery"}


REAL = {
    "ucf101": {
        "v_ApplyEyeMakeup_g01_c01": ("test", "ApplyEyeMakeup"),
        "v_SoccerJuggling_g23_c01": ("train", "SoccerJuggling"),
    },
    "hmdb51": {
        "RATRACE_wave_f_nm_np1_fr_goo_37": ("train", "wave"),
        "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0": ("extra", "wave"),
    },
}


@pytest.mark.parametrize("dataset", REAL)
def test_real_videos_and_splits(dataset, shared_data, tmp_path):
    shutil.copytree(shared_data / dataset, tmp_path / "videos")
    splits = shared_data / "lists" / f"{dataset}_splits"
    result = run("index", dataset, tmp_path / "videos", "--splits", splits, "--out", tmp_path / "clips", "--workers", 0)
    assert result.exit_code == 1  # all other videos of the data set
    assert "2 done" in result.output
    options = ("--short-side", 32, "--fps", 5, "--cpus", 0, "--labels", dataset)
    assert run("flow", tmp_path / "clips", "--out", tmp_path / "shards", *options).exit_code == 0
    for key, (split, label) in REAL[dataset].items():
        assert shard_labels(tmp_path / "shards", split)[key] == label
