"""Attacks by lists, manifests, names and labels: none names a file outside, becomes an option or drives a terminal."""

import csv
import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.annotations import read_kinetics
from preprocess.cli import main
from preprocess.clips import find_clips
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.console import printable, show_log
from preprocess.errors import InvalidInput
from preprocess.jsonl import append_line
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome
from preprocess.paths import inside, label_folder
from preprocess.progress import ShowProgress
from preprocess.sharding import make_shards
from tests.preprocess.conftest import numbered_frames, textured_frames, write_video

HEADER = "label,youtube_id,time_start,time_end,split\n"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"

IDS = (
    "../../etc/pw",
    "/etc/passwd",
    "..%2f..%2fab",
    "a/b_cdEFGh1",
    "C:\\Windows1",
    "~root/abcde",
    "$(id)abcdef",
    "`id`abcdefg",
    "--exec=abcd",
    "-o/tmp/abcd",
    "abc;rm -rf",
    "abcdefghij\0",
    "abcdefghij ",
    "abc%(id)sef",
    "{abcdefghi}",
    "http://a.bc",
    "a" * 5000,
    "\u0430bcdefghijk",
    "abcdefghij\u202e",
    "",
)
"""None is a YouTube id."""
TIMES = (
    ("-1", "9"),
    ("0", "1e309"),
    ("nan", "inf"),
    ("0x1", "0x9"),
    ("1", "99999999999999999999"),
    ("\u0661", "9"),
    ("$(id)", "9"),
)
SPLITS = ("../../etc", "train/../..", "-rf", "", "train\0")
LABELS = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "-rf",
    "--exec id",
    "$(id)",
    "`id`",
    "a;b|c&d",
    "%(title)s",
    "%05d",
    "[red]bold[/red]",
    "con",
    "=cmd|' /C calc'!A0",
    "yoga " * 30,
    "<script>alert(1)</script>",
)
"""Printable text, so each is a label; what becomes of it is the matter."""


def write(path, *rows):
    with path.open("w", newline="") as file:
        file.write(HEADER)
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize("youtube_id", IDS)
def test_id_is_refused(tmp_path, youtube_id):
    read = read_kinetics(write(tmp_path / "a.csv", ("yoga", youtube_id, 0, 9, "train")))
    assert (len(read.clips), len(read.refused)) == (0, 1)


@pytest.mark.parametrize("times", TIMES)
def test_time_is_refused(tmp_path, times):
    read = read_kinetics(write(tmp_path / "a.csv", ("yoga", "abcdefghijk", *times, "train")))
    assert (len(read.clips), len(read.refused)) == (0, 1)


@pytest.mark.parametrize("split", SPLITS)
def test_split_is_refused(tmp_path, split):
    read = read_kinetics(write(tmp_path / "a.csv", ("yoga", "abcdefghijk", 0, 9, split)))
    assert (len(read.clips), len(read.refused)) == (0, 1)


@pytest.mark.parametrize("label", [ESCAPE, "a\tb", "a\u202eb", "a\x9bb", "a\u2028b", "a\0b", "a" * 5000, "\ud800"])
def test_label_that_is_not_printable_is_refused(tmp_path, label):
    path = tmp_path / "a.csv"
    path.write_text(f'{HEADER}"{label}",abcdefghijk,0,9,train\n', encoding="utf-8", errors="surrogatepass")
    read = read_kinetics(path)
    assert (len(read.clips), len(read.refused)) == (0, 1)


@settings(derandomize=True, max_examples=200, deadline=None, database=None)
@given(st.text(max_size=200) | st.sampled_from(LABELS))
def test_label_never_leads_outside(label):
    root = Path("/nowhere/clips")
    path = inside(root, f"train/{label_folder(label)}/key.mp4")
    assert path.parent.parent == root / "train"
    assert not path.parent.name.startswith(("-", "."))
    assert len(path.parent.name.encode()) <= 80


def test_download_of_hostile_rows_writes_below_its_folder_only(tmp_path, monkeypatch):
    """Good ids that start with a dash, and labels of all kinds; refused rows beside them."""
    videos = tmp_path / "videos"
    videos.mkdir()
    rows = []
    for number, label in enumerate(LABELS):
        youtube_id = f"-abcdefg{number:03d}"
        if number == 0:
            write_video(videos / f"{youtube_id}.mp4", numbered_frames(60))
        else:
            shutil.copy(videos / "-abcdefg000.mp4", videos / f"{youtube_id}.mp4")
        rows.append((label, youtube_id, 0, 2, "train"))
    rows += [("yoga", youtube_id, 0, 2, "train") for youtube_id in IDS if "\0" not in youtube_id]
    work = tmp_path / "a" / "b" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    before = set(tmp_path.rglob("*"))
    arguments = ["download", str(write(work / "list.csv", *rows)), "--source-dir", str(videos), "--out", "clips"]
    result = CliRunner().invoke(main, [*arguments, "--workers", "0"])
    assert result.exit_code == 1
    assert f"{len(LABELS)} done" in result.output
    assert result.output.isascii()
    assert result.output.replace("\n", "").isprintable()
    made = set(tmp_path.rglob("*")) - before
    assert all(path == work / "list.csv" or path.is_relative_to(work / "clips") for path in made)
    assert len(list((work / "clips").rglob("*.mp4"))) == len(LABELS)
    with (work / "clips" / "missing.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "\t"))]


PATHS = ("../secret.mp4", "/etc/passwd", "train/../../secret.mp4", "..", "a\0b", "a\nb", ESCAPE)


def entry(**changes):
    values = {"key": "k", "youtube_id": "abcdefghijk", "time_start": 0, "time_end": 1, "split": "train"}
    values |= {"label": "yoga", "outcome": Outcome.DONE, "path": "train/yoga/k.mp4", "sha256": "0", "duration_s": 1.0}
    return {**asdict(ManifestEntry(**values, height=48, width=64)), **changes}


@pytest.mark.parametrize("path", PATHS)
def test_manifest_names_no_file_outside(tmp_path, path):
    append_line(tmp_path / MANIFEST_NAME, entry(path=path))
    with pytest.raises(InvalidInput, match=r"manifest\.jsonl: the entry of 'k' with the path .* leads out"):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""},
        {"key": "k" * 1000},
        {"key": ESCAPE},
        {"key": 7},
        {"label": ["yoga"]},
        {"label": ESCAPE},
        {"time_start": "0"},
        {"time_end": float("nan")},
        {"duration_s": 1e300},
        {"height": -1},
        {"width": True},
        {"path": 5},
        {"sha256": None},
    ],
)
def test_manifest_of_strange_values_is_refused_or_left_out(tmp_path, changes, caplog):
    append_line(tmp_path / MANIFEST_NAME, entry(**changes))
    with pytest.raises(InvalidInput, match=r"holds what is no text or number|holds no finished clips"):
        find_clips(tmp_path)


def test_clip_whose_name_is_no_text_is_named_and_not_taken(tmp_path):
    folder = tmp_path / "train" / "yoga"
    folder.mkdir(parents=True)
    for name in (b"a\xff.mp4", f"a{ESCAPE}b.mp4".encode(), b"a\nb.mp4"):
        path = folder / name.decode(errors="surrogateescape")
        path.write_bytes(b"x")
        with pytest.raises(InvalidInput, match="is not printable text; rename it") as caught:
            find_clips(tmp_path)
        assert printable(str(caught.value)).isprintable()
        path.unlink()


def test_link_among_the_clips_is_not_followed(tmp_path):
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    write_video(folder / "good.mp4", textured_frames(4))
    (folder / "link.mp4").symlink_to(write_video(tmp_path / "secret.mp4", textured_frames(4)))
    report = make_shards(
        tmp_path / "clips",
        tmp_path / "shards",
        config=FlowConfig(short_side=48, backend="opencv"),
        workers=WorkerConfig(workers=0),
    )
    assert report.clips == 1
    assert report.failed == {"link": "link.mp4: a link, which is not followed; put the file itself there"}


# --- the terminal -------------------------------------------------------------------------------------------------


def test_failed_clips_are_told_without_their_escapes(tmp_path):
    folder = tmp_path / "clips" / "train" / "[red]yoga[link=x]"
    folder.mkdir(parents=True)
    write_video(folder / "good.mp4", textured_frames(4))
    (folder / "[blink]bad.mp4").write_bytes(b"no video")
    arguments = ["flow", str(tmp_path / "clips"), "--out", str(tmp_path / "s"), "--cpus", "0", "--short-side", "48"]
    result = CliRunner().invoke(main, [*arguments, "--backend", "opencv"])
    assert result.exit_code == 1
    assert "failed: [blink]bad: [blink]bad.mp4: not a video file" in result.output


def test_errors_are_told_without_their_escapes(tmp_path):
    append_line(tmp_path / MANIFEST_NAME, entry(key=f"k{ESCAPE}"))
    result = CliRunner().invoke(main, ["flow", str(tmp_path), "--out", str(tmp_path / "out"), "--cpus", "0"])
    assert result.exit_code == 2
    assert "\\x1b" in result.output
    assert "\x1b" not in result.output


def test_log_lines_cannot_drive_the_terminal_nor_look_like_others(capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    try:
        show_log(verbose=False)
        try:
            raise ValueError(ESCAPE)
        except ValueError:
            logging.getLogger("preprocess.x").warning("label %s\nERROR all is lost", ESCAPE, exc_info=True)
    finally:
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert shown.startswith("WARNING preprocess.x: label \\x1b]0;owned\\x07\\x1b[2J\\nERROR all is lost\n")
    assert "ValueError: \\x1b]0;" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_notes_above_the_bar_are_no_markup(capsys):
    ShowProgress("clips").step(3, note=f"[red]a[/red]{ESCAPE}")
    shown = capsys.readouterr().out
    assert shown == "[red]a[/red]\\x1b]0;owned\\x07\\x1b[2J\n"


def test_json_of_a_hostile_manifest_is_plain(tmp_path):
    append_line(tmp_path / MANIFEST_NAME, entry(outcome="bad_media", cause=ESCAPE, reason=ESCAPE))
    for command in (["status", str(tmp_path), "--json"], ["status", str(tmp_path)]):
        result = CliRunner().invoke(main, command)
        assert "\x1b" not in result.output
    assert json.loads(CliRunner().invoke(main, ["status", str(tmp_path), "--json"]).output)
