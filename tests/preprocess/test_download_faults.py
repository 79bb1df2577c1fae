"""A server that does everything wrong, and the real yt-dlp in front of it."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from preprocess.annotations import read_lists
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import download
from preprocess.errors import EnvironmentProblem
from preprocess.outcomes import read_manifest
from preprocess.schedule import RetryPolicy
from preprocess.wanted import wanted_of
from tests.preprocess.conftest import Fault, numbered_frames, write_video

ID = "abcdefghijk"
STUMBLE = b"<html><script>jwplayer('a').setup({sources: [{file: 5}]})</script></html>"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.mp4\n#EXT-X-ENDLIST\n"


@pytest.fixture
def fetch(video_server, write_list, tmp_path):
    def call(*identifiers, workers=0, callbacks=(), **options):
        identifiers = identifiers or (ID,)
        for identifier in identifiers:
            if not (video_server.folder / f"{identifier}.mp4").exists():
                write_video(video_server.folder / f"{identifier}.mp4", numbered_frames(75))
        path = write_list(*(("yoga", identifier, 0, 2, "train") for identifier in identifiers))
        found = read_lists([path])
        options = {"socket_timeout_s": 1.0, "retries": RetryPolicy(tries=2, first_s=0.01), **options}
        config = DownloadConfig(out=tmp_path / "clips", url_template=video_server.template, **options)
        download(
            wanted_of(found, found.clips),
            config=config,
            workers=WorkerConfig(workers=workers),
            **dict(callbacks),
        )
        left = [path for path in config.out.rglob("*") if path.is_file() and path.suffix not in {".csv", ".json"}]
        entries = read_manifest(config.out)
        done = {config.out / entry.path for entry in entries.values() if entry.outcome == "done"}
        assert {path for path in left if path.name not in {".lock", "manifest.jsonl"}} == done
        return [entries[f"{identifier}_000000_000002"] for identifier in identifiers]

    return call


@pytest.mark.parametrize(
    ("fault", "outcome", "cause"),
    [
        (Fault(status=404), "unavailable", "not_found"),
        (Fault(status=410), "unavailable", "not_found"),
        (Fault(status=403), "temporary", "forbidden"),
        (Fault(status=429, headers={"Retry-After": "0"}), "temporary", "rate_limit"),
        (Fault(status=500), "temporary", "server_error"),
        (Fault(status=503), "temporary", "server_error"),
        (Fault(cut=2000, ranges=False), "temporary", "connection"),
        (Fault(cut=0), "temporary", "connection"),
        (Fault(headers={"Content-Length": "5000000"}), "temporary", "connection"),
        (Fault(silent=True), "temporary", "timeout"),
        (Fault(body=b"<html><title>Not here</title><p>Nothing to see</p></html>"), "bad_media", "not_video"),
        (Fault(body=STUMBLE), "temporary", "unknown"),
        (Fault(body=PLAYLIST), "bad_media", "damaged"),
        (Fault(body=b"ffconcat version 1.0\nfile other.mp4\n"), "bad_media", "damaged"),
        (Fault(body=b""), "temporary", "connection"),
    ],
    ids=lambda value: (
        "-".join(f"{k}={v}"[:30] for k, v in vars(value).items() if v) if isinstance(value, Fault) else None
    ),
)
def test_each_fault_has_its_outcome(fetch, video_server, fault, outcome, cause):
    write_video(video_server.folder / "other.mp4", numbered_frames(75))
    video_server.faults[f"{ID}.mp4"] = fault
    started = time.monotonic()
    (entry,) = fetch()
    assert (entry.outcome.value, entry.cause) == (outcome, cause), entry.reason
    assert time.monotonic() - started < 20
    assert {name for _, name, _ in video_server.requests} == {f"{ID}.mp4"}  # no playlist is followed


def test_one_byte_a_second_ends_at_the_deadline(fetch, video_server):
    video_server.faults[f"{ID}.mp4"] = Fault(drip_s=0.05)
    started = time.monotonic()
    (entry,) = fetch(deadline_s=1.0, retries=RetryPolicy(tries=1))
    assert (entry.outcome.value, entry.cause) == ("temporary", "timeout")
    assert "not done after 1 s" in entry.reason
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=2),
        Fault(cut=2000),  # each connection brings some more
        Fault(cut=2000, times=2, ranges=False),
        Fault(silent=True, times=1),
    ],
)
def test_a_fault_that_passes_costs_nothing(fetch, video_server, fault):
    outcomes = []
    video_server.faults[f"{ID}.mp4"] = fault
    on_clip = {"on_clip": lambda entry, total: outcomes.append(entry.outcome.value)}
    (entry,) = fetch(callbacks=on_clip, retries=RetryPolicy(tries=4, first_s=0.01))
    assert (entry.outcome.value, entry.frame_count, outcomes) == ("done", 50, ["done"])


def test_retry_after_is_waited_for_and_told(fetch, video_server):
    pauses = []
    video_server.faults[f"{ID}.mp4"] = Fault(status=429, headers={"Retry-After": "2"}, times=1)
    (entry,) = fetch(callbacks={"on_pause": pauses.append})
    assert entry.outcome == "done"
    refused, next_one = video_server.times[:2]
    assert 1.9 < next_one - refused < 4
    (pause,) = pauses
    assert "429" in pause.reason
    assert video_server.url.removeprefix("http://") == pause.identity


def test_a_wall_does_not_burn_the_list(fetch, video_server):
    names = [f"{i:011d}" for i in range(12)]
    for name in names:
        video_server.faults[f"{name}.mp4"] = Fault(status=429, times=100)
    with pytest.raises(EnvironmentProblem, match=r"nothing but walls .* HTTP Error 429.* --cookies or --proxy"):
        fetch(*names, pause_s=0.5, give_up_s=1.0)
    assert len(video_server.requests) < 8
    for name in names:
        video_server.faults[f"{name}.mp4"].times = 0
    assert {entry.outcome.value for entry in fetch(*names)} == {"done"}


def test_the_rate_is_kept(fetch, video_server):
    names = [f"{i:011d}" for i in range(5)]
    fetch(*names, rate=3600 / 0.5)
    firsts = [
        next(
            t
            for t, (_, path, _) in zip(video_server.times, video_server.requests, strict=True)
            if path == f"{name}.mp4"
        )
        for name in names
    ]
    # between being let go and asking, the first one also loads yt-dlp
    gaps = [late - early for early, late in pairwise(firsts[1:])]
    assert min(gaps) > 0.35
    assert sum(gaps) > 1.4


@pytest.mark.ray
def test_workers_share_the_limiter_and_heed_the_deadline(fetch, video_server):
    names = [f"{i:011d}" for i in range(4)]
    video_server.faults[f"{names[0]}.mp4"] = Fault(drip_s=0.05)
    entries = fetch(*names, workers=2, rate=3600 / 0.4, deadline_s=5.0, retries=RetryPolicy(tries=1))
    assert [entry.outcome.value for entry in entries] == ["temporary", "done", "done", "done"]


WHAT_IS_IMPORTED_IN_TIME = """
import sys
from contextlib import contextmanager

from preprocess import fetching
from preprocess.cli import main

@contextmanager
def watched(seconds):
    before = set(sys.modules)
    yield
    print("imported:", *sorted(set(sys.modules) - before))

fetching.deadline = watched
main(sys.argv[1:])
"""


@pytest.mark.parametrize("source", ["url", "directory"])
def test_nothing_is_imported_while_a_deadline_runs(video_server, write_list, tmp_path, source):
    """An import that is broken off cannot be made up for in the same process."""
    write_video(video_server.folder / f"{ID}.mp4", numbered_frames(75))
    asked = {"url": ["--url-template", video_server.template], "directory": ["--source-dir", video_server.folder]}
    command = ["download", write_list(("yoga", ID, 0, 2, "train")), *asked[source], "--out", tmp_path / "clips"]
    ended = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED_IN_TIME, *map(str, command), "--workers", "0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 0, ended.stderr
    (imported,) = (line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("imported:"))
    # parts that import nothing themselves
    assert [name for name in imported if name != "imageio_ffmpeg.binaries" and not name.startswith("av.")] == []
