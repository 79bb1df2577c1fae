"""Tests of i3d_train.cli."""

import json
import subprocess
import sys

import click
import pytest
import torch
from click.testing import CliRunner

from i3d_train import checkpoint
from i3d_train.cli import main
from i3d_train.models import network_class
from i3d_train.stop_signal import StopSignal
from i3d_train.trainer import Trainer
from tests.i3d_train.small_videos import write_video


def invoke(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def own_weights(config, tmp_path):
    return checkpoint.save(tmp_path / "weights", Trainer(config).checkpoint(), keep=1)


@pytest.mark.parametrize("command", main.commands)
def test_every_command_has_help_with_an_example(command):
    status, out, _ = invoke(command, "--help")
    assert status == 0
    assert f"Example:\n      i3d_train {command}" in out


@pytest.mark.parametrize("command", main.commands)
def test_every_option_has_help(command):
    options = [parameter for parameter in main.commands[command].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("command", ["run", "evaluate", "predict", "features"])
def test_help_names_every_kind_of_weights(command):
    (option,) = (parameter for parameter in main.commands[command].params if parameter.name == "weights")
    assert [kind for kind in (".pt", ".safetensors", ".npz") if kind not in option.help] == []


def test_module_is_the_command():
    command = [sys.executable, "-m", "i3d_train", "--help"]
    assert "Usage: i3d_train" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_few_processes_need_is_imported_late():
    code = "import sys, i3d_train.train; print({'matplotlib', 'torch._dynamo'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_run_trains_i3d_and_sums_up(shards, tmp_path):
    out = tmp_path / "run"
    status, shown, log = invoke(
        *("run", "--shards", shards, "--out", out, "--frames", 9, "--crop", 32, "--batch-size", 4, "--steps", 2),
        *("--device", "cpu", "--loader", "torch", "--threads", 1),
    )
    assert status == 0
    assert "at last, 2 steps" in shown
    assert "validation after step 2: top-1" in shown
    assert f"wrote {out / 'best.pt'}, {out / 'checkpoint-2.pt'}" in shown
    assert "step 2/2: loss" in log


def test_impossible_option_fails(shards, tmp_path):
    status, _, log = invoke("run", "--shards", shards, "--out", tmp_path / "run", "--frames", 5)
    assert status == 2
    assert log == "Error: frames must be at least 9, got 5\n"


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_file_in_place_of_the_folder_to_write_fails(shards, own_weights, tmp_path, command):
    (tmp_path / "file").touch()
    weights = ("--weights", own_weights) if command == "evaluate" else ()
    status, _, log = invoke(command, "--shards", shards, *weights, "--out", tmp_path / "file")
    assert status == 2
    assert log.endswith(f"Error: Invalid value for '--out': Directory '{tmp_path / 'file'}' is a file.\n")


def test_options_win_over_the_preset_and_all_of_it_is_written(shards, tmp_path):
    out = tmp_path / "run"
    status, _, log = invoke(
        *("run", "--shards", shards, "--out", out, "--preset", "paper", "--frames", 9, "--crop", 32, "--steps", 1),
        *("--batch-size", 4, "--short-side", 40, "--momentum", 0.5, "--no-flip", "--width", 0.1),
        *("--device", "cpu", "--loader", "torch", "--threads", 1),
    )
    written = json.loads((out / "config.json").read_text())
    assert status == 0
    said = log.index("preset paper: width 0.1, frames 9, crop 32, short_side 40, fps 25, flip False, batch_size 4")
    assert said < log.index(f"(all of it in {out / 'config.json'})\n8 clips of 2 classes")
    assert (written["preset"], written["schedule"], written["dropout"]) == ("paper", "plateau", 0.5)
    assert (written["momentum"], written["batch_size"], written["flip"]) == (0.5, 4, False)


def test_missing_gpu_fails(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, log = invoke("run", "--shards", shards, "--out", tmp_path / "run", "--device", "cuda")
    assert status == 3
    assert log.startswith("Error: device 'cuda' needs an NVIDIA GPU")


def test_evaluate_prints_accuracy_and_classes(shards, own_weights):
    status, shown, _ = invoke(
        *("evaluate", "--shards", shards, "--weights", own_weights, "--frames", 9, "--crop", 32),
        *("--device", "cpu", "--loader", "torch", "--threads", 1, "--per-class"),
    )
    lines = shown.splitlines()
    assert status == 0
    assert lines[0].endswith("on 3 clips, 0 without a label")
    assert lines[1] == "top-1\ttop-5\tclips\tclass"
    assert {line.split("\t")[3] for line in lines[2:]} == {"dark", "light"}


def test_predict_prints_guesses(own_weights, tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=12)
    status, shown, _ = invoke("predict", video, "--weights", own_weights, "--device", "cpu")
    assert status == 0
    assert shown.splitlines()[0] == str(video)
    assert {line.split()[2] for line in shown.splitlines()[1:]} == {"dark", "light"}


def test_predict_json_has_a_line_a_video(own_weights, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"")
    video = write_video(tmp_path / "a.mp4", frames=12)
    status, shown, log = invoke(
        "predict", tmp_path / "bad.mp4", video, "--weights", own_weights, "--device", "cpu", "--json"
    )
    bad, good = map(json.loads, shown.splitlines())
    assert status == 1
    assert bad["error"].startswith("bad.mp4: ")
    assert (good["error"], good["frames"], len(good["top"])) == (None, 12, 2)
    assert "1 of 2 videos failed" in log


def test_predict_json_stays_json_where_logits_are_not_finite_fails(own_weights, tiny, tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.mp4", frames=12)
    monkeypatch.setattr(network_class(tiny), "clip_logits", lambda network, logits: logits.mean(2) * torch.nan)
    status, shown, _ = invoke("predict", video, "--weights", own_weights, "--device", "cpu", "--json")
    assert status == 1
    assert "NaN" not in shown
    assert json.loads(shown)["error"].startswith("a.mp4: the network's logits are not finite")


def test_unreadable_weights_fails(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    status, _, log = invoke("predict", tmp_path / "a.mp4", "--weights", tmp_path / "w.pt")
    assert status == 2
    assert f"weights {tmp_path / 'w.pt'} have an unknown format" in log


def test_stopped_run_says_how_to_go_on_fails(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(StopSignal, "__call__", lambda self: True)
    options = (
        *("run", "--shards", shards, "--out", tmp_path / "run", "--frames", 9, "--crop", 32, "--batch-size", 4),
        *("--device", "cpu", "--loader", "torch", "--threads", 1),
    )
    status, shown, log = invoke(*options, "--steps", 2)
    assert status == 1
    assert "stopped after step 1 of 2; go on with --resume" in log
    assert "clips/s" in shown
    # of no step there is no speed
    _, shown, _ = invoke(*options, "--steps", 1, "--resume")
    assert "clips/s" not in shown
    assert "wrote" in shown


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("evaluate", "weights"),
        ("predict", "weights"),
        ("features", "weights"),
        ("convert", "source"),
        ("export", "weights"),
    ],
)
def test_folder_of_a_run_stands_for_its_best_checkpoint(command, name, tmp_path):
    (found,) = [one for one in main.commands[command].params if one.name == name]
    (tmp_path / "checkpoint-5.pt").touch()
    (tmp_path / "best.pt").touch()
    assert found.type.convert(str(tmp_path), found, None) == tmp_path / "best.pt"


def test_folder_without_weights_fails(tmp_path):
    status, _, log = invoke("predict", tmp_path / "a.mp4", "--weights", tmp_path)
    assert status == 2
    assert "holds no checkpoint of a run; give the folder of a run, or a file of weights" in log


def test_run_is_not_written_to_a_folder_that_is_called_like_an_address(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, said = invoke("run", "--shards", shards, "--out", "s3://bucket/run")
    assert status == 2
    assert "s3://bucket/run is an address, not a place on this machine; " in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("predict",), ("features", "--out", "features.h5")])
def test_video_at_an_address_is_told_as_one(command, tmp_path):
    weights = tmp_path / "weights.npz"
    weights.touch()
    status, _, said = invoke(*command, "http://host/a.mp4", "--weights", weights)
    assert status == 2
    assert "http://host/a.mp4 is an address, not a place on this machine; copy or mount it" in said
