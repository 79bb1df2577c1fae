import re
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from preprocess.cli import main
from preprocess.shards import ShardSet
from tests.preprocess.conftest import numbered_frames, write_video


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    result = run("sample", folder, "--videos-per-class", 1, "--val-per-class", 1, "--width", 64, "--height", 48)
    assert result.exit_code == 0
    return folder


@pytest.fixture(scope="module")
def clips(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    arguments = ("--source-dir", sample / "videos", "--out", out, "--limit", 3, "--workers", 0)
    assert run("download", sample / "list.csv", *arguments).exit_code == 0
    return out


def test_sample_says_what_it_made(tmp_path):
    result = run("sample", tmp_path, "--videos-per-class", 1, "--val-per-class", 1, "--width", 64, "--height", 48)
    assert "8 training and 8 validation videos of 8 classes" in result.output
    assert str(tmp_path / "list.csv") in result.output


def test_download_counts(sample, clips):
    result = run(
        "download", sample / "list.csv", "--source-dir", sample / "videos", "--out", clips, "--limit", 3, "--workers", 0
    )
    assert (result.exit_code, result.output) == (0, f"3 rows = 3 done (0 clips done by this run) in {clips}\n")


def test_download_with_something_missing_exits_1_and_names_it(tmp_path, write_list):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "aaaaaaaaaaa.mp4", numbered_frames(60))
    path = write_list(("yoga", "aaaaaaaaaaa", 0, 2, "train"), ("yoga", "bbbbbbbbbbb", 0, 2, "train"))
    result = run("download", path, "--source-dir", videos, "--out", tmp_path / "clips", "--workers", 0)
    assert result.exit_code == 1
    assert "bbbbbbbbbbb_000000_000002: no bbbbbbbbbbb_000000_000002.* and no bbbbbbbbbbb.* below" in result.output
    assert "2 rows = 1 done + 1 unavailable (1 clips done by this run)" in result.output
    assert f"missing: 1, each with its reason in {tmp_path / 'clips' / 'missing.csv'}" in result.output


def test_strict_stops_before_the_first_download(tmp_path, write_list):
    path = write_list(("yoga", "aaaaaaaaaaa", 0, 2, "train"), ("yoga", "too_short", 0, 2, "train"))
    result = run("download", path, "--source-dir", tmp_path, "--out", tmp_path / "clips", "--strict")
    assert result.exit_code == 2
    assert "1 rows are refused: list.csv, line 3: youtube_id 'too_short' is not 11 characters" in result.output
    assert not (tmp_path / "clips").exists()


def test_several_lists_are_one(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "aaaaaaaaaaa.mp4", numbered_frames(60))
    header = "label,youtube_id,time_start,time_end,split\n"
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"{header}yoga,aaaaaaaaaaa,0,2,{split}\n")
    lists = (tmp_path / "train.csv", tmp_path / "val.csv")
    result = run("download", *lists, "--source-dir", videos, "--out", tmp_path / "clips", "--workers", 0)
    assert "2 rows = 1 done + 1 refused (1 clips done by this run)" in result.output
    assert "train.csv" in (tmp_path / "clips" / "missing.csv").read_text()


def test_flow_makes_shards(clips, tmp_path):
    result = run("flow", clips, "--out", tmp_path / "shards", "--short-side", 32, "--cpus", 0, "--clips-per-shard", 2)
    assert result.exit_code == 0
    assert "3 clips" in result.output
    assert "147 pairs in" in result.output
    split = next(s for s in ("train", "val") if any((clips / s).glob("*/*.mp4")))
    assert ShardSet(tmp_path / "shards", split).attributes.short_side == 32


def test_flow_dry_run_measures_and_writes_nothing(clips, tmp_path):
    result = run("flow", clips, "--out", tmp_path / "shards", "--short-side", 32, "--cpus", 2, "--dry-run")
    assert result.exit_code == 0
    assert "measured: 30 pairs" in result.output
    assert "expected: 3 clips, 147 pairs" in result.output
    assert re.search(r"iB, [0-9]+ s with 2 workers\n", result.output)
    assert not (tmp_path / "shards").exists()


def test_flow_dry_run_refuses_what_the_run_would(clips, tmp_path):
    (tmp_path / "labels.txt").write_text("juggling\n")
    result = run("flow", clips, "--out", tmp_path / "shards", "--labels", tmp_path / "labels.txt", "--dry-run")
    assert result.exit_code == 2
    assert "labels of the clips are not in the given list" in result.output


def test_flow_with_a_broken_clip_exits_1_and_names_it(tmp_path):
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    write_video(folder / "good.mp4", numbered_frames(5))
    (folder / "bad.mp4").write_bytes(b"\x00")
    result = run("flow", tmp_path / "clips", "--out", tmp_path / "shards", "--short-side", 32, "--cpus", 0)
    assert result.exit_code == 1
    assert "failed: bad: bad.mp4: not a video file" in result.output
    assert "1 clips failed; --retry-failed tries them again" in result.output


def test_labels_from_a_file(clips, tmp_path):
    classes = ["moving left", "moving right", "moving up", "moving down", "zooming in", "zooming out"]
    labels = [*classes, "rotating clockwise", "rotating counterclockwise"]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n")
    options = ("--short-side", 32, "--cpus", 0, "--labels", tmp_path / "labels.txt")
    assert run("flow", clips, "--out", tmp_path / "shards", *options).exit_code == 0


LONG = "a" * 300  # as wrong as a name in a folder that one may not enter, which the tests as root have none of
PLACES = [
    *(((command,), ()) for command in ("verify", "status", "card", "sample", "report")),
    (("repair",), (".",)),
    (("flow",), ("--out", "o")),
    (("download", "LIST", "--out", "o", "--source-dir"), ()),
]
NO_NUMBERS = ("x", "1e5000")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("download", "none.csv", "--out", "o"), 2, "list none.csv does not exist"),
        (("download", "LIST"), 2, "Missing option '--out'"),
        (("download", "LIST", "--out", "o", "--limit", "0"), 2, "limit must be at least 1, got 0"),
        (("download", "LIST", "--out", "o", "--split", "dev"), 2, "split 'dev' is unknown; use train, val or test"),
        (("download", "LIST", "--out", "o", "--classes", "swimming"), 2, "no clip has the class 'swimming'"),
        (("download", "LIST", "--out", "o", "--url-template", "http://x/y.mp4"), 2, "lacks {youtube_id}"),
        (("download", "LIST", "--out", "o", "--source-dir", "none"), 2, "source folder none does not exist"),
        (("download", "LIST", "--out", "o", "--workers", "-1"), 2, "workers must be at least 0, got -1"),
        (("download", "LIST", "--out", "o", "--source", "mirror,url"), 2, "source mirror needs --mirror"),
        (("download", "LIST", "--out", "o", "--source", "tape"), 2, "source 'tape' is unknown; use directory, mirror,"),
        (("download", "LIST", "--out", "o", "--mirror", "nowhere"), 2, "mirror 'nowhere' is neither of kinetics400"),
        (("download", "LIST", "--out", "o", "--proxy", "host"), 2, "proxy 'host' is not an address such as"),
        (("download", "LIST", "--out", "o", "--cookies", "none.txt"), 2, "cookie file none.txt does not exist"),
        (("download", "LIST", "--out", "o", "--rate", "0"), 2, "rate must be at least 0.01 videos an hour, got 0"),
        (
            ("download", "LIST", "--out", "o", "--deadline", "0"),
            2,
            "deadline_s must be above 0 s and at most 604800 s, got 0",
        ),
        (("download", "LIST", "--out", "o", "--deadline", "inf"), 2, "at most 604800 s, got inf"),
        (("download", "LIST", "--out", ""), 2, "'' is empty; name a place"),
        (("sample", ""), 2, "'' is empty; name a place"),
        *(((*start, LONG, *end), 2, f"{LONG} cannot be looked at: File name too long") for start, end in PLACES),
        (("download", "LIST", "--out", "o", "--mirror", LONG), 2, "cannot be looked at: File name too long"),
        (("flow", "EMPTY", "--out", "o", "--labels", LONG), 2, f"label file {LONG} cannot be read"),
        (("download", "LIST", "--out", "o", "--source", ""), 2, "source '' is unknown; use directory, mirror,"),
        (("download", "LIST", "--out", "o", "--dataset", ""), 2, "data set '' has no label table; use one of"),
        (("download", "LIST", "--out", "o", "--dataset", "k9"), 2, "data set 'k9' has no label table; use one of"),
        (("flow", "none", "--out", "o"), 2, "folder of clips none does not exist"),
        (("flow", "EMPTY", "--out", "o"), 2, "holds no finished clips"),
        (("flow", "EMPTY", "--out", "o", "--short-side", "8"), 2, "short_side must be 16 to 2304 pixels, got 8"),
        *((("flow", "EMPTY", "--out", "o", "--fps", fps), 2, "is not a number or fraction") for fps in NO_NUMBERS),
        (("flow", "EMPTY", "--out", "o", "--backend", "magic"), 2, "flow backend 'magic' is unknown; use auto, "),
        (("flow", "EMPTY", "--out", "o", "--labels", "none"), 2, "label file none does not exist"),
        (("flow", "EMPTY", "--out", "o", "--labels", ""), 2, "label file . cannot be read"),
        (("flow", "EMPTY", "--out", "o", "--gpus", "0"), 2, "--gpus must be at least 1, got 0"),
        (("flow", "EMPTY", "--out", "o", "--gpus", "1", "--cpus", "1"), 2, "--gpus or --cpus, not both"),
        (("flow", "EMPTY", "--out", "o", "--gpus", "99"), 3, "--gpus 99 was asked for, "),
        # the GPUs of a cluster are not asked for here
        (("flow", "EMPTY", "--out", "o", "--gpus", "1", "--address", "h:1"), 2, "holds no finished clips"),
        (("sample", "o", "--width", "63"), 2, "63"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "LIST").write_text("label,youtube_id,time_start,time_end,split\nyoga,aaaaaaaaaaa,0,2,train\n")
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_help_is_quick_and_complete_without_heavy_imports():
    script = (
        "import sys\nfrom preprocess.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'ray', 'torch', 'cv2', 'av', 'yt_dlp', 'cupy', 'nvidia', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.monotonic()
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 2  # 0.1 s on a quiet machine; the claim is the imports
    for command in ("sample", "download", "flow"):
        assert command in run.stdout


def test_module_runs_like_the_command():
    run = subprocess.run([sys.executable, "-m", "preprocess", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("preprocess, version ")


@pytest.mark.parametrize(
    "arguments", [("sample", "{}"), ("verify", "{}"), ("status", "{}"), ("card", "{}"), ("card", "diff", ".", "{}")]
)
def test_address_is_no_folder_of_this_machine(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.format("s3://user:password@bucket/x") for argument in arguments))
    assert result.exit_code == 2
    assert "s3://bucket/x is an address, not a place on this machine; " in result.output
    assert list(tmp_path.iterdir()) == []  # such as a folder `s3:`
