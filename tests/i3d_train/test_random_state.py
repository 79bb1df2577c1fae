"""Tests of i3d_train.random_state."""

import logging

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


def test_other_processes_are_seeded_anew_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        restore_random_state([random_state(CPU)] * 2, group=ALONE, device=CPU, seed=7)
    drawn = torch.rand(5)
    assert "the run to resume had 2 processes, now they are 1" in caplog.text
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7)))
