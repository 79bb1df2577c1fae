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
    assert len(comparison.feed) == len(comparison.bare) == 3
    for fed, bare in zip(comparison.feed, comparison.bare, strict=True):
        assert (fed.clips, fed.bytes) == (bare.clips, bare.bytes)
        assert fed.clips == 4
        assert fed.bytes > 0
        assert min(fed.cpu_s, fed.wall_s, bare.cpu_s, bare.wall_s) > 0


def test_bytes_are_those_of_the_jpegs_that_are_decoded(shards):
    loader = open_small(shards, "torch", split="test", training=False, frames=40, batch_size=3)
    (fed,) = compare(loader, rounds=1, batches=1).feed
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
    comparison = Comparison(feed=(fed, fed, slower), bare=(bare, bare, bare))
    assert comparison.share_of_bare == pytest.approx(0.75)
    assert median(comparison.feed, "clips_s") == 40
    assert "works at 75% of the bare decode's rate" in table(comparison)


def test_command_prints_the_figures(shards):
    arguments = [str(shards), "--frames", "8", "--crop", "32", "--batch-size", "2", "--rounds", "1", "--batches", "1"]
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu", "--streams", "rgb"])
    assert result.exit_code == 0, result.output
    assert "ClipLoader on cpu" in result.output
    assert re.search(r"^feed +\d+\.\d +\[.*\] +\d+\.\d", result.output, re.MULTILINE)
    assert re.search(r"the feed works at \d+% of the bare decode's rate", result.output)


def test_command_ends_an_error_with_its_message_and_status(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == InvalidInput.exit_status
    assert "index.json does not exist" in result.output
