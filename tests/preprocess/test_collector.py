"""Tests of preprocess.collector."""

import gc
import weakref

import pytest

from preprocess.collector import collector_paused, old_objects_spared


def test_runs_again_after_the_block_however_it_ends():
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), collector_paused():
        raise KeyError
    assert gc.isenabled()


def test_stays_off_where_it_was_off():
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_decorates_a_function_that_is_called_again():
    @collector_paused()
    def enabled():
        return gc.isenabled()

    assert (enabled(), enabled(), gc.isenabled()) == (False, False, True)


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.ring = self


def test_old_objects_are_not_looked_at_until_the_block_ends():
    with collector_paused():  # it must not run by itself before the block begins
        old = weakref.ref(Ring())
        with old_objects_spared():
            new = weakref.ref(Ring())
            gc.collect()
            assert (old() is None, new() is None) == (False, True)
        gc.collect()
        assert old() is None
