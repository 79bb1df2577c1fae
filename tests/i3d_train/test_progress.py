"""Tests of i3d_train.progress."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from i3d_train.events import RateDropped, Saved, Scored, Started, StepDone, Validated
from i3d_train.progress import ShowProgress


def show(*events, terminal: bool) -> str:
    text = StringIO()
    with ShowProgress(Console(file=text, force_terminal=terminal, width=120)) as observe:
        for event in events:
            observe(event)
    return text.getvalue()


def step(number: int) -> StepDone:
    return StepDone(step=number, steps=100, loss=1.25, lr=0.01, clips_per_s=12.5, wait_share=0.07)


def test_terminal_shows_a_bar_with_loss_pace_and_waiting():
    shown = show(step(40), terminal=True)
    assert "40/100 loss 1.2500  12.5 clips/s  7% waiting for data" in shown


def test_elsewhere_a_line_comes_now_and_then():
    shown = show(*(step(number) for number in range(1, 50)), terminal=False)
    assert shown.splitlines() == ["step 1/100: loss 1.2500  12.5 clips/s  7% waiting for data  lr 0.01"]


def test_the_last_step_always_has_a_line():
    assert "step 100/100" in show(step(1), step(100), terminal=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_results_have_lines_of_their_own(terminal):
    shown = show(
        Started(step=0, steps=100, clips=8, num_classes=2, parameters=12_697_264, device="cuda", precision="bf16"),
        Scored(done=3, total=3),
        Validated(step=5, loss=0.5, top1=0.75, top5=1.0, clips=3),
        Saved(step=5, path=Path("run/checkpoint-5.pt")),
        terminal=terminal,
    )
    assert "8 clips of 2 classes, 12,697,264 parameters, cuda bf16, steps 1 to 100" in shown
    assert "step 5: validation loss 0.5000, top-1 0.7500, top-5 1.0000 on 3 clips" in shown
    assert "step 5: wrote run/checkpoint-5.pt" in shown


def test_bars_of_lost_workers_go():
    started = Started(step=2, steps=100, clips=8, num_classes=2, parameters=5, device="cpu", precision="fp32")
    shown = show(step(40), Scored(done=1, total=3), started, terminal=True)
    assert "1/3 clips" in shown
    _, _, since_last_clearing = shown.rpartition("\x1b[2K")
    assert "1/3 clips" not in since_last_clearing
    assert "40/100" not in since_last_clearing


def test_processes_are_named_where_there_are_several():
    started = Started(step=0, steps=9, clips=8, num_classes=2, parameters=5, device="cpu", precision="fp32")
    several = replace(started, processes=4, clips_per_step=32)
    assert "fp32, steps 1" in show(started, terminal=False)
    assert "fp32, 4 processes, 32 clips a step, steps 1" in show(several, terminal=False)


def test_drop_of_the_rate_is_told():
    shown = show(RateDropped(step=7, lr=0.001), terminal=False)
    assert "step 7: the validation loss no longer falls, lr 0.001 from here" in shown
