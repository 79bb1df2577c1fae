"""Tests of i3d_train.random_state."""

import logging

import pytest
import torch

from i3d_train.process_group import ALONE, ProcessGroup
from i3d_train.random_state import random_state, restore_random_state

CPU = torch.device("cpu")


def test_restored_numbers_are_those_that_would_have_come():
    state = random_state(CPU)
    expected = torch.rand(5)
    restore_random_state([state], group=ALONE, device=CPU, seed=0)
    assert torch.equal(torch.rand(5), expected)


def test_each_process_gets_its_own():
    torch.manual_seed(1)
    first = random_state(CPU)
    torch.manual_seed(2)
    second = random_state(CPU)
    expected = torch.rand(5)
    restore_random_state([first, second], group=ProcessGroup(rank=1, size=2), device=CPU, seed=0)
    assert torch.equal(torch.rand(5), expected)


def test_numbers_of_the_gpu_go_on_too(monkeypatch):
    """Dropout draws there."""
    gpu, taken = torch.device("cuda"), []
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda: torch.tensor([3], dtype=torch.uint8))
    monkeypatch.setattr("torch.cuda.set_rng_state", taken.append)
    restore_random_state([random_state(gpu)], group=ALONE, device=gpu, seed=0)
    assert [state.tolist() for state in taken] == [[3]]


@pytest.mark.parametrize(("before", "now"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_run_that_goes_on_elsewhere_goes_on_with_what_both_have(before, now, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda: torch.tensor([3], dtype=torch.uint8))
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda state: pytest.fail("is of another device"))
    state = random_state(torch.device(before))
    expected = torch.rand(5)
    restore_random_state([state], group=ALONE, device=torch.device(now), seed=0)
    assert torch.equal(torch.rand(5), expected)


def test_other_processes_are_seeded_anew_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        restore_random_state([random_state(CPU)] * 2, group=ProcessGroup(rank=2, size=3), device=CPU, seed=7)
    drawn = torch.rand(5)
    assert "the run to resume had 2 processes, now they are 3: dropout draws other numbers" in caplog.text
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7 + 2)))
