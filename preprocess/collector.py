"""Python's collector of cyclic garbage, out of the way of long lists."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles within the block, or the function that this decorates.

    Hundreds of thousands of new objects, none of them part of a cycle, set off search after search through all that
    there are: a quarter of the time of planning Kinetics-700, see benchmarks/plan_cpu.py. Counted references are freed
    as ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def old_objects_spared() -> Iterator[None]:
    """No search for cycles, within the block, among the objects that were there before it.

    Each search among a million clips takes seconds, in which a driver does nothing else; see docs/scale.md.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
