"""Killed anywhere: the same command again gives what it would have given if nothing had happened."""

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from i3d_train import checkpoint
from tests.crash.folders import contents, leftovers, published
from tests.crash.kill_points import calls
from tests.crash.points import DOWNLOAD, FLOW, MIRROR, TRAIN
from tests.crash.processes import strangers_of
from tests.crash.small_runs import OUT, SmallRun, make_runs
from tests.crash.warm import Warm

POINTS = [
    pytest.param(command, point, id=f"{command}: {name}")
    for command, table in {"download": DOWNLOAD, "mirror": MIRROR, "flow": FLOW, "train": TRAIN}.items()
    for name, point in table.items()
]
ONCE = {"download": "preprocess.trim:trim", "flow": "preprocess.sharding:make_shard"}
"""What each unit of work calls once."""


@dataclass
class Bench:
    """What all these tests share."""

    warm: Warm
    runs: dict[str, SmallRun]


@pytest.fixture(scope="module")
def bench(warm, tmp_path_factory):
    return Bench(warm, make_runs(tmp_path_factory.mktemp("crash"), warm))


def assert_no_reader_was_misled(run: SmallRun, out: Path) -> None:
    """Whatever stands under a final name is what the whole run gives, or a whole checkpoint of an earlier step."""
    for name, content in published(out).items():
        if name.endswith(".pt"):
            checkpoint.load(out / name)
        else:
            assert run.published.get(name) == content, f"{name} can be read and is not whole"


def test_points_are_as_many_as_promised():
    assert len(POINTS) >= 16


@pytest.mark.parametrize(("command", "point"), POINTS)
def test_killed_at_a_point_and_run_again(command, point, bench, tmp_path):
    run, out = bench.runs[command], tmp_path / OUT
    killed = run.start(bench.warm, tmp_path, at=point)
    assert bench.warm.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert_no_reader_was_misled(run, out)
    run.start(bench.warm, tmp_path)
    assert bench.warm.wait() == 0, (tmp_path / "log").read_text()
    assert contents(out) == run.expected
    assert leftovers(out) == []
    assert strangers_of(killed) == []
    if command in ONCE:  # no more than what was under way was done twice
        assert calls(tmp_path / "calls", ONCE[command]) <= calls(run.calls, ONCE[command]) + 1


@pytest.mark.parametrize("command", ["flow", "mirror"])
def test_killed_at_random_again_and_again(command, bench, tmp_path):
    run, out, moments = bench.runs[command], tmp_path / OUT, random.Random(7)
    kills, status = 0, None
    for _ in range(12):
        process = run.start(bench.warm, tmp_path)
        end = time.monotonic() + moments.uniform(0.05, 0.6)
        while time.monotonic() < end:
            assert_no_reader_was_misled(run, out)  # all the time, not after the kill only
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        status = bench.warm.wait()
        kills += status == -signal.SIGKILL
        if status == 0:
            break
    if status != 0:
        run.start(bench.warm, tmp_path)
        assert bench.warm.wait() == 0
    assert kills >= 2
    assert contents(out) == run.expected
    assert leftovers(out) == []
