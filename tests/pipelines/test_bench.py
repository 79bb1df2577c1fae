import hashlib
import re
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from pipelines import LOADERS
from pipelines.bench import Comparison, Round, compare, cpu_s, main, median, settled, table
from preprocess.errors import InvalidInput
from tests.pipelines.small_loader import open_small


@pytest.mark.parametrize("backend", LOADERS)
def test_both_sides_of_a_round_have_the_same_clips_and_bytes(shards, backend):
    loader = open_small(shards, backend)
    comparison = compare(loader, rounds=3, batches=2)
    (feed,) = comparison.feeds.values()
    assert len(feed) == len(comparison.bare) == 3
    for fed, bare in zip(feed, comparison.bare, strict=True):
        assert (fed.clips, fed.bytes) == (bare.clips, bare.bytes)
        assert fed.clips == 4
        assert fed.bytes > 0
        assert min(fed.cpu_s, fed.wall_s, bare.cpu_s, bare.wall_s) > 0


def test_bytes_are_those_of_the_jpegs_that_are_decoded(shards):
    loader = open_small(shards, "torch", split="test", training=False, frames=40, batch_size=3)
    ((fed,),) = compare(loader, rounds=1, batches=1).feeds.values()
    # looped clips count once
    wanted = sum(
        loader.shards.jpeg(stream, clip, t).nbytes
        for clip, frames in enumerate((19, 6, 39))
        for t in range(frames)
        for stream in ("rgb", "flow")
    )
    assert fed.bytes == wanted


def test_round_ends_when_the_workers_rest():
    work = "import time; print('begun', flush=True)\nwhile time.process_time() < 0.4: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        began = time.perf_counter()
        since = settled((worker.pid,))
        assert since > began
        assert cpu_s((worker.pid,)) - cpu_s() > 0.39
        worker.communicate(b"\n")


def test_round_ends_when_the_threads_rest():
    thread = threading.Thread(target=lambda: [hashlib.sha256(bytes(1 << 20)) for _ in range(100)])
    thread.start()
    settled()
    assert not thread.is_alive()


def test_figures_follow_from_the_counts():
    fed = Round(clips=8, bytes=16_000_000, cpu_s=0.4, wall_s=0.2)
    assert (fed.cpu_ms_a_clip, fed.clips_s, fed.mb_s) == (50, 40, 80)
    slower = Round(clips=8, bytes=16_000_000, cpu_s=4, wall_s=2)
    bare = Round(clips=8, bytes=16_000_000, cpu_s=0.3, wall_s=0.3)
    twice = Round(clips=8, bytes=16_000_000, cpu_s=0.5, wall_s=0.1)
    comparison = Comparison(feeds={1: (fed, fed, slower), 4: (twice, twice, slower)}, bare=(bare, bare, bare))
    assert comparison.share_of_bare(1) == pytest.approx(0.75)
    assert comparison.speedup(4) == pytest.approx(2)
    assert median(comparison.feeds[1], "clips_s") == 40
    lines = table(comparison).splitlines()
    assert lines[-2] == "feed, 1 thread: works at 75% of the bare decode's rate, by CPU time"
    assert lines[-1].endswith(
        "works at 60% of the bare decode's rate, by CPU time, and gives 2.00 times the clips of 1"
    )


def test_command_prints_the_figures(shards):
    arguments = [str(shards), "--frames", "8", "--crop", "32", "--batch-size", "2", "--rounds", "1", "--batches", "1"]
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu", "--streams", "rgb", "--threads", "1,2,1"])
    assert result.exit_code == 0, result.output
    assert "ClipLoader on cpu" in result.output
    found = re.findall(r"^(feed, .*?|bare decode) +\d+\.\d +\[.*\] +\d+\.\d", result.output, re.MULTILINE)
    assert found == ["feed, 1 thread", "feed, 2 threads", "bare decode"]
    assert re.search(r"^feed, 1 thread: works at \d+% of the bare decode's rate", result.output, re.MULTILINE)
    assert re.search(r"^feed, 2 threads: .* gives \d\.\d\d times the clips of 1$", result.output, re.MULTILINE)


@pytest.mark.parametrize("threads", ["0", "1,", "two", "-1", "1,2.5"])
def test_threads_that_are_no_numbers_are_refused(shards, threads):
    result = CliRunner().invoke(main, [str(shards), f"--threads={threads}"])
    assert result.exit_code == InvalidInput.exit_status
    assert f"--threads is '{threads}'; it must be a number above 0" in result.output


def test_command_ends_an_error_with_its_message_and_status(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == InvalidInput.exit_status
    assert "index.json does not exist" in result.output
