"""Tests of i3d_train.train: a process that is killed at any moment, or asked to end."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from i3d_train import checkpoint
from tests.crash.warm import Warm

STEPS = 24
OPTIONS = (
    *("--model", "tiny", "--frames", 9, "--crop", 32, "--device", "cpu", "--loader", "torch", "--threads", 1),
    *("--batch-size", 4, "--accumulate", 2, "--ema", 0.9, "--schedule", "cosine", "--warmup", 0.2, "--lr", 0.1),
    *("--steps", STEPS, "--checkpoint-every", 5, "--validate-every", 4, "--seed", 3),
)


def start(warm: Warm, shards: Path, out: Path, *options) -> int:
    arguments = ("run", "--shards", shards, "--out", out, *OPTIONS, *options)
    return warm.start("tests.i3d_train.tiny_command", *arguments, folder=out.parent)


def run(*arguments) -> int:
    start(*arguments)
    return arguments[0].wait()


def numbers(out: Path) -> list[dict[str, float]]:
    speed = {"clips_per_s", "wait_share", "memory_bytes"}
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in speed} for record in found]


def wait_for_step(out: Path, step: int) -> None:
    """Until so many steps are written down."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = out / "metrics.jsonl"
        if path.is_file() and path.read_bytes().count(b'"loss"') >= step:
            return
        time.sleep(0.001)
    raise AssertionError(f"step {step} did not come")


@pytest.fixture(scope="module")
def uninterrupted(warm, shards, tmp_path_factory) -> list[dict[str, float]]:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(warm, shards, out) == 0
    return numbers(out)


def test_killed_at_random_steps_it_comes_to_the_same_losses(warm, shards, tmp_path, uninterrupted):
    out = tmp_path / "run"
    moments = sorted(random.Random().sample(range(1, STEPS), 2))
    for number, step in enumerate(moments):
        process = start(warm, shards, out, *["--resume"] * (number > 0))
        wait_for_step(out, step)
        # it may have come to its end before it could be killed
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        assert warm.wait() in (-signal.SIGKILL, 0)
    assert run(warm, shards, out, "--resume") == 0
    assert numbers(out) == uninterrupted, f"killed at steps {moments}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_finishes_the_step_and_says_how_to_go_on(number, warm, shards, tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = start(warm, shards, out)
    wait_for_step(out, 2)
    os.kill(process, number)
    assert warm.wait() == 1
    (last,) = checkpoint.saved_steps(out)[-1:]
    log = (tmp_path / "log").read_text()
    assert log.count("stopping after this step, with a checkpoint; a second Ctrl-C stops at once\n") == 1
    assert log.endswith(f"stopped after step {last} of {STEPS}; go on with --resume\n")
    assert run(warm, shards, out, "--resume") == 0
    assert numbers(out) == uninterrupted
