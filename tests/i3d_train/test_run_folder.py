"""Tests of i3d_train.run_folder."""

import json
from dataclasses import replace

import pytest

from i3d_train.events import Scored, StepDone, Validated
from i3d_train.run_folder import RunFolder, reserved
from i3d_train.trainer import Trainer
from preprocess.errors import EnvironmentProblem, InvalidInput

STEP = StepDone(step=1, steps=9, loss=1.5, lr=0.1, clips_per_s=4.0, wait_share=0.25, gradient_norm=2.0)


@pytest.fixture
def folder(config):
    opened = RunFolder(config, step=0, validated=0)
    opened.describe()
    return opened


def records(folder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics.path.read_text().splitlines()]


def test_steps_and_validations_are_written_down(folder):
    folder.note(STEP)
    folder.note(Scored(done=1, total=3))
    folder.note(Validated(step=1, loss=0.5, top1=0.75, top5=1.0, clips=3))
    step, validation = records(folder)
    assert (step["loss"], step["gradient_norm"]) == (1.5, 2.0)
    assert validation == {"step": 1, "val_loss": 0.5, "val_top1": 0.75, "val_top5": 1.0, "val_clips": 3}


def test_skipped_update_is_plain_json(folder):
    folder.note(replace(STEP, gradient_norm=None))
    assert '"gradient_norm": null' in folder.metrics.path.read_text()


def test_configuration_is_whole(folder, config):
    assert json.loads((config.out / "config.json").read_text()) == config.to_json()


def test_saving_draws_the_curve_and_keeps_the_newest(folder, config):
    trainer = Trainer(replace(config, keep=1))
    for _ in range(4):
        folder.note(trainer.train_step())
        folder.save(trainer.checkpoint())
    names = {path.name for path in folder.files()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "loss.png",
        "checkpoint-2.pt",
        "checkpoint-3.pt",
        "checkpoint-4.pt",
    }


def test_files_of_others_are_not_called_its_own(folder, config):
    (config.out / "notes.txt").touch()
    assert [path.name for path in folder.files()] == ["config.json", "metrics.jsonl"]


def test_tensorboard_is_written_too(config):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    folder = RunFolder(replace(config, tensorboard=True), step=0, validated=0)
    folder.note(STEP)
    assert config.out / "tensorboard" in folder.files()
    folder.close()
    (events,) = (config.out / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()


@pytest.mark.parametrize("name", ["checkpoint-5.pt", "best.pt"])
def test_folder_of_another_run_fails(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    with (
        pytest.raises(InvalidInput, match=r"holds the checkpoints of a run; add --resume"),
        reserved(tmp_path, resume=False),
    ):
        pass


def test_folder_is_held_by_one_run_at_a_time_fails(tmp_path):
    with (
        reserved(tmp_path, resume=True),
        pytest.raises(EnvironmentProblem, match=r"is in use by process"),
        reserved(tmp_path, resume=True),
    ):
        pass
