"""Spread work on the clips of a data set over processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import TypeVar

import cv2

from preprocess.errors import BadShard, EnvironmentProblem
from preprocess.held_signals import held_back
from preprocess.shards import ShardSet

Value = TypeVar("Value")

CLIPS_A_PROCESS = 32
"""With fewer of them the work is done before the process has started."""
_CHUNK = 8  # clips that a process takes at once: neighbours, of which the file is open already

_shards: ShardSet | None = None
"""Of this worker process: sent once, not with each clip."""


class ClipWorkers:
    """Made by `clip_workers`."""

    def __init__(self, shards: ShardSet, executor: ProcessPoolExecutor | None) -> None:
        self._shards = shards
        self._executor = executor

    def each(self, function: Callable[[ShardSet, int], Value], clips: Sequence[int]) -> Iterator[Value | BadShard]:
        """Call `function(shards, clip)` on each clip and yield the results in order; `function` is picklable.

        One clip that cannot be decoded costs no other: its `BadShard` is its result.
        """
        if self._executor is None:
            return (_tried(function, self._shards, clip) for clip in clips)
        return self._executor.map(partial(_tried_there, function), clips, chunksize=_CHUNK)


@contextmanager
def clip_workers(shards: ShardSet, *, workers: int, clips: int) -> Iterator[ClipWorkers]:
    """Worker processes, or this process alone where more would not be worth their start.

    Args:
        shards: the data set.
        workers: processes at most, 1 or more.
        clips: about how many there are to work on.

    Raises:
        EnvironmentProblem: a worker was killed, at its start or in the block.
    """
    workers = min(workers, clips // CLIPS_A_PROCESS)
    if workers <= 1:
        yield ClipWorkers(shards, None)
        return
    # spawned, since the threads of the progress bar and of OpenCV do not survive a fork
    context = multiprocessing.get_context("spawn")
    start = (shards, context.Barrier(workers))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=start) as executor:
        try:
            # all start before any works: one that is killed while another starts is a plain OSError in Python 3.11
            with held_back({signal.SIGINT}):  # Ctrl-C is for this process, which ends the others
                for _ in range(workers):
                    executor.submit(int)
            yield ClipWorkers(shards, executor)
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "a worker process ended without an answer: killed for its memory, or by a disk that fails; try fewer "
                "--workers, and `preprocess verify`"
            ) from error
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _tried(function: Callable[[ShardSet, int], Value], shards: ShardSet, clip: int) -> Value | BadShard:
    try:
        return function(shards, clip)
    except BadShard as error:
        return error


def _tried_there(function: Callable[[ShardSet, int], Value], clip: int) -> Value | BadShard:
    assert _shards is not None, "the initializer has run"
    return _tried(function, _shards, clip)


def _start(shards: ShardSet, others: Barrier) -> None:
    global _shards  # noqa: PLW0603 the one way to hand a process something once
    _shards = shards
    cv2.setNumThreads(1)  # the processes are the threads
    threading.Thread(target=_end_with_parent, daemon=True).start()
    others.wait()  # none is idle, so that each `submit` starts one more


def _end_with_parent() -> None:
    """A parent that is killed tells nobody: its pool would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker process"
    parent.join()
    os._exit(1)
