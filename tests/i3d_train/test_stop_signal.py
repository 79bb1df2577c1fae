"""Tests of i3d_train.stop_signal."""

import os
import signal

import pytest

from i3d_train.stop_signal import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_the_second_is_not_held_back(number):
    before = signal.getsignal(number)
    told = []
    with StopSignal(tell=lambda: told.append(stop())) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert told == [True]
        assert signal.getsignal(number) == before


def test_afterwards_signals_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal():
        pass
    assert signal.getsignal(signal.SIGTERM) == before
