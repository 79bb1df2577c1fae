"""Tests of i3d_train.tensorboard_log."""

import builtins
import threading
from pathlib import Path

import pytest

from i3d_train.events import Saved, Scored, StepDone, Validated
from i3d_train.tensorboard_log import TensorBoardLog, scalars
from preprocess.errors import EnvironmentProblem

STEP = StepDone(
    step=7, steps=9, loss=1.5, lr=0.1, clips_per_s=4.0, wait_share=0.25, gradient_norm=2.0, memory_bytes=3 << 30
)
VALIDATED = Validated(step=7, loss=0.5, top1=0.75, top5=1.0, clips=8)


def test_scalars_of_a_step():
    assert scalars(STEP) == {
        "train/loss": 1.5,
        "train/lr": 0.1,
        "train/gradient_norm": 2.0,
        "speed/clips_per_s": 4.0,
        "speed/data_wait_share": 0.25,
        "speed/memory_GiB": 3.0,
    }


def test_scalars_of_a_validation():
    assert scalars(VALIDATED) == {"val/loss": 0.5, "val/top1": 0.75, "val/top5": 1.0}


@pytest.mark.parametrize("event", [Scored(done=1, total=2), Saved(step=1, path=Path("x.pt"))])
def test_other_events_have_none(event):
    assert scalars(event) == {}


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoardLog(tmp_path, step=0)
    for event in (STEP, Scored(done=1, total=8), VALIDATED):
        log.note(event)
    log.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {*scalars(STEP), *scalars(VALIDATED)}
    (top1,) = found.Scalars("val/top1")
    assert (top1.step, top1.value) == (7, 0.75)


def test_disk_that_fails_later_fails(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    # TensorBoard's thread ends with its error, of which pytest would warn
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    log = TensorBoardLog(tmp_path, step=0)
    (tmp_path / "tensorboard").rename(tmp_path / "gone")

    def log_a_step_and_close() -> None:
        log.note(STEP)
        log.close()

    with pytest.raises(EnvironmentProblem, match=r"cannot write .*tensorboard: .*No such file"):
        log_a_step_and_close()


def test_missing_tensorboard_fails(tmp_path, monkeypatch):
    import_as_ever = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ImportError("No module named 'tensorboard'")
        return import_as_ever(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'kineflow\[tensorboard\]', or leave the option out"):
        TensorBoardLog(tmp_path, step=0)
