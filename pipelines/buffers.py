"""Memory for batches that is used again.

The kernel hands out fresh memory page by page, each cleared first. For a batch that costs several times what is then
written into it, so memory that nobody looks at any more is kept for the batches to come.
"""

import math
import mmap
import weakref
from collections.abc import Sequence

import numpy as np
import torch

from preprocess.errors import EnvironmentProblem

KEPT = 3
"""Blocks that stay when nobody uses them: one for the batch to come, two for a caller that gathers batches."""


class Buffers:
    """Tensors on the CPU, each with memory of its own for as long as it, or a view of it, is there."""

    def __init__(self) -> None:
        self._idle: list[np.ndarray] = []
        # weak, of what the tensor holds: it ends with the last tensor that shares the memory, wherever that is
        self._lent: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []

    def take(self, shape: Sequence[int]) -> torch.Tensor:
        """float32 of this shape, contiguous, at the start of a page; what is in it is left from before.

        Raises:
            EnvironmentProblem: there is not as much memory.
        """
        size = math.prod(shape)
        given_back = [memory for memory, holder in self._lent if holder() is None]
        self._lent = [(memory, holder) for memory, holder in self._lent if holder() is not None]
        self._idle = [memory for memory in (*self._idle, *given_back) if memory.size == size][:KEPT]
        memory = self._idle.pop() if self._idle else _pages(size)
        holder = memory[:]
        self._lent.append((memory, weakref.ref(holder)))
        return torch.from_numpy(holder).view(*shape)


def _pages(size: int) -> np.ndarray:
    # private, since the kernel has no huge pages for shared memory, and a forked process would see batches change
    try:
        memory = mmap.mmap(-1, max(4 * size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise EnvironmentProblem(
            f"no memory for a batch of {4 * size / 2**30:.0f} GiB; use a smaller batch size or crop, or fewer frames"
        ) from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float32, size)
