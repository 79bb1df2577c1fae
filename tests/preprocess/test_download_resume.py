"""The command, killed or without room, and run again."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preprocess.outcomes import MANIFEST_NAME, read_manifest
from preprocess.paths import UNFINISHED
from tests.preprocess.conftest import Fault, numbered_frames, textured_frames, write_video

COMMAND = [sys.executable, "-m", "preprocess", "download"]


@pytest.fixture
def arguments(video_server, write_list, tmp_path):
    names = [f"{i:011d}" for i in range(8)]
    for i, name in enumerate(names):
        write_video(video_server.folder / f"{name}.mp4", textured_frames(75, height=96, width=128, seed=i))
    path = write_list(*(("yoga", name, 0, 2, "train") for name in names))
    return [str(path), "--url-template", video_server.template, "--out", str(tmp_path / "clips"), "--workers", "0"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.mp4")}


def test_killed_at_random_and_run_again_gives_the_same_clips(arguments, tmp_path, video_server):
    clips = tmp_path / "clips"
    assert subprocess.run([*COMMAND, *arguments], check=False, capture_output=True).returncode == 0
    expected, entries = contents(clips), read_manifest(clips)
    for path in [*clips.rglob("*.mp4"), clips / MANIFEST_NAME]:
        path.unlink()
    moments = random.Random(4)
    kills = 0
    while kills < 4:
        running = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(video_server.requests)
        while running.poll() is None and len(video_server.requests) == before:
            time.sleep(0.01)  # until it begins to fetch
        time.sleep(moments.uniform(0, 0.3))
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            kills += 1
        running.wait()
        done = read_manifest(clips)
        assert all((clips / entry.path).read_bytes() == expected[Path(entry.path)] for entry in done.values())
        if len(done) == len(expected):
            break
    assert subprocess.run([*COMMAND, *arguments], check=False, capture_output=True).returncode == 0
    assert contents(clips) == expected
    assert read_manifest(clips) == entries
    assert not (clips / UNFINISHED).exists()
    lines = [json.loads(line)["key"] for line in (clips / MANIFEST_NAME).read_text().splitlines()]
    assert len(lines) == len(set(lines))  # nothing that counted was done twice


def test_no_space_stops_cleanly_and_room_lets_it_go_on(arguments, tmp_path, video_server):
    clips = tmp_path / "clips"
    write_video(video_server.folder / "00000000000.mp4", numbered_frames(75))  # the first one fits
    first = (video_server.folder / "00000000000.mp4").stat().st_size

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (first + 4000, first + 4000))

    stopped = subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, preexec_fn=little_room
    )
    assert stopped.returncode == 3, stopped.stderr
    assert "free space, then run the command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert [entry.outcome.value for entry in read_manifest(clips).values()] == ["done"]
    assert not (clips / UNFINISHED).exists()
    assert len(contents(clips)) == 1
    assert subprocess.run([*COMMAND, *arguments], check=False, capture_output=True).returncode == 0
    assert len(contents(clips)) == 8


def test_a_second_run_in_the_folder_says_who_holds_it(arguments, video_server):
    video_server.faults["00000000000.mp4"] = Fault(silent=True)
    first = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not video_server.requests:
            time.sleep(0.01)
        second = subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True)
        assert second.returncode == 3
        assert f"is in use by process {first.pid} on " in second.stderr
    finally:
        first.kill()
        first.wait()
