"""Tests of i3d_train.process_group: several processes, started as torchrun does, against one."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from i3d_train import checkpoint
from i3d_train.events import ignore
from i3d_train.process_group import ALONE, ProcessGroup, is_first_process, joined
from i3d_train.trainer import Trainer
from preprocess.errors import EnvironmentProblem, InvalidInput
from tests.crash.warm import Warm

ROOT = Path(__file__).parents[2]
TORCHRUN = ("torch.distributed.run", "--standalone")
FORKING_TORCHRUN = ("tests.crash.forking_torchrun",)
# Dropout draws numbers of its own in each process, and BatchNorm sees its own clips: without both the updates are equal
STEPS = 300
SAME_UPDATES = ("--freeze-bn", "--dropout", 0, "--ema", 0.9, "--no-flip", "--steps", STEPS, "--lr", 0.01)


def command(launcher: tuple[str, ...], processes: int, shards: Path, out: Path, *options) -> list[str]:
    """A module, and its arguments."""
    fixed = ("--model", "tiny", "--frames", 9, "--crop", 32, "--device", "cpu", "--loader", "torch", "--threads", 1)
    arguments = ("run", "--shards", shards, "--out", out, *fixed, "--validate-every", 50, *options)
    launched = (*launcher, "--nproc-per-node", processes, "-m") if processes > 1 else ()
    return [*map(str, (*launched, "tests.i3d_train.tiny_command", *arguments))]


def torchrun(processes: int, shards: Path, out: Path, *options) -> subprocess.Popen[str]:
    """As a user starts it."""
    started = [sys.executable, "-m", *command(TORCHRUN, processes, shards, out, *options)]
    return subprocess.Popen(started, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(warm: Warm, processes: int, shards: Path, out: Path, *options) -> tuple[int, str]:
    """Exit status and log of a run that starts in no time."""
    folder = out.with_name(f"beside-{out.name}-{len(list(out.parent.iterdir()))}")
    warm.start(*command(FORKING_TORCHRUN, processes, shards, out, *options), folder=folder)
    return warm.wait(), (folder / "log").read_text()


def records(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one_and_two(warm, shards, tmp_path_factory):
    """Folders of two runs, and what the second printed and logged."""
    folder = tmp_path_factory.mktemp("runs")
    status, log = run(warm, 1, shards, folder / "1", "--batch-size", 4, *SAME_UPDATES)
    assert status == 0, log
    with torchrun(2, shards, folder / "2", "--batch-size", 2, *SAME_UPDATES) as process:
        output, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    return folder / "1", folder / "2", output, log


@pytest.mark.parametrize("name", ["loss", "gradient_norm", "val_loss", "val_top1", "val_clips"])
def test_two_processes_do_what_one_does_with_the_double_batch(name, one_and_two):
    one, two = ([(r["step"], r[name]) for r in records(out) if name in r][:10] for out in one_and_two[:2])
    assert one
    assert [step for step, _ in one] == [step for step, _ in two]
    assert [value for _, value in two] == pytest.approx([value for _, value in one], rel=1e-5, abs=1e-6)


def test_two_processes_end_with_the_weights_of_one(one_and_two):
    one, two = (checkpoint.load(checkpoint.checkpoint_path(out, STEPS)) for out in one_and_two[:2])
    for name in one.weights:
        torch.testing.assert_close(two.weights[name], one.weights[name], rtol=1e-3, atol=1e-5)


def test_only_the_first_process_writes_and_speaks(one_and_two):
    _, out, output, log = one_and_two
    assert [record["step"] for record in records(out) if "loss" in record] == list(range(1, STEPS + 1))
    assert output.count(f"at last, {STEPS} steps") == 1
    assert log.count("2 processes, 4 clips a step") == 1


def test_asked_to_end_all_processes_stop_at_one_step_and_go_on_to_the_same_end(one_and_two, warm, shards, tmp_path):
    out = tmp_path / "run"
    options = ("--batch-size", 2, *SAME_UPDATES)
    with torchrun(2, shards, out, *options) as process:
        deadline = time.monotonic() + 60
        while not (out / "best.pt").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert "go on with --resume" in log
    assert log.count("stopping after this step") == 1
    (step,) = checkpoint.saved_steps(out)
    assert step == max(record["step"] for record in records(out))
    assert run(warm, 2, shards, out, *options, "--resume")[0] == 0
    losses, expected = ([r["loss"] for r in records(folder) if "loss" in r] for folder in (out, one_and_two[1]))
    assert losses == expected


@pytest.mark.parametrize("options", [(), ("--ema", 0.5)], ids=["last weights", "running average"])
def test_scores_of_two_processes_are_those_of_the_network_that_is_saved(options, warm, config, tmp_path):
    out = tmp_path / "two"
    assert run(warm, 2, config.shards, out, "--batch-size", 2, "--steps", 4, *options)[0] == 0
    alone = Trainer(replace(config, ema=0.5 if options else None))
    alone.restore(checkpoint.load(checkpoint.checkpoint_path(out, 4)))
    scores, *_ = alone.validate(ignore)
    assert records(out)[-1]["val_loss"] == pytest.approx(scores.loss, rel=1e-6)


def test_three_processes_go_on_to_the_same_end(warm, shards, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = ("--model", "i3d", "--width", 0.1, "--batch-size", 2, "--lr", 0.01, "--steps", 5, "--checkpoint-every", 2)
    assert run(warm, 3, shards, whole, *options)[0] == 0
    resumed.mkdir()
    shutil.copy(whole / "checkpoint-2.pt", resumed)
    assert run(warm, 3, shards, resumed, *options, "--resume")[0] == 0
    losses, expected = ([r["loss"] for r in records(out) if "loss" in r] for out in (resumed, whole))
    # of two numbers there is one sum, of three the order of adding decides on the last bit
    assert losses == expected[2:]


def test_all_processes_stop_at_infinity_and_the_clips_are_named_fails(warm, shards, tmp_path):
    status, log = run(warm, 2, shards, tmp_path / "run", "--batch-size", 2, "--steps", 9, "--lr", 1e30)
    assert status == 1
    error = next(line for line in log.splitlines() if line.startswith("Error: step"))
    assert error.count("train") >= 2
    assert "the network was not updated" in error


@pytest.mark.parametrize("rank", [0, 1])
def test_fault_of_the_first_process_is_raised_in_all_fails(rank, monkeypatch):
    """Or the others would wait for what it never sends."""
    sent = []

    def make():
        assert rank == 0
        raise InvalidInput("no room")

    def broadcast(found, *, src):
        sent.append(found[:])
        found[:] = [None, InvalidInput("no room")]

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    with pytest.raises(InvalidInput, match="no room"):
        ProcessGroup(rank=rank, size=2).from_first(make)
    assert [type(fault) for _, fault in sent] == [InvalidInput if rank == 0 else type(None)]


@pytest.mark.parametrize(("local", "device", "backend"), [(1, "auto", "nccl"), (2, "cpu", "gloo")])
def test_each_process_of_torchrun_takes_the_gpu_of_its_number(local, device, backend, two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", str(local))
    with joined(device) as group:
        assert group == ProcessGroup(rank=5, size=6)
    assert two_gpus == ([local] if backend == "nccl" else []) + [backend, "left"]


def test_more_processes_than_gpus_fails(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(
            EnvironmentProblem, match=r"process 2 .* no GPU of its own, there are 2; start --nproc-per-node 2"
        ),
        joined("cuda"),
    ):
        pass
    assert two_gpus == []


@pytest.fixture
def two_gpus(monkeypatch):
    """This process as one of six that torchrun started, on a machine of two GPUs; what it asked PyTorch for."""
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(dist, "init_process_group", asked.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 5)
    monkeypatch.setattr(dist, "get_world_size", lambda: 6)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("left"))
    return asked


def test_one_process_is_alone():
    with joined("cpu") as group:
        assert group is ALONE
    assert is_first_process()


@pytest.mark.parametrize("call", ["gather", "from_first", "any", "sum"])
def test_alone_everything_is_ones_own(call):
    answers = {
        "gather": ALONE.gather("x") == ["x"],
        "from_first": ALONE.from_first(lambda: "x") == "x",
        "any": not ALONE.any(False, device=torch.device("cpu")),
        "sum": ALONE.sum(torch.ones(2)).tolist() == [1, 1],
    }
    assert answers[call]
