"""Where a clip stands still: fields without motion, and frames that are there twice.

A source of few frames a second has each frame several times after the resampling, which is a still field each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BLOCK = 8
"""Pixels of the side of a block."""
STILL_PX = 0.25
"""Most that a still block moves on average along an axis: one code at +-20 px. TV-L1 and JPEG make less of a still
picture."""
MOVING_SHARE = 0.01
"""Most blocks of a still field that move, of those of u and those of v together."""


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """What of a clip stands still."""

    fields: int
    still: int
    longest: int
    """Still fields one after the other."""
    duplicate: int
    """Fields between two frames whose JPEGs are the same."""


def find_stretches(still: Sequence[bool], rgb: Sequence[np.ndarray]) -> Stretches:
    """The stretches of one clip.

    Args:
        still: of each flow field, whether it is.
        rgb: the JPEGs of its frames, uint8 [bytes] each, one more than fields.
    """
    # most pairs differ in length already, and their bytes are never read
    return Stretches(
        fields=len(still),
        still=sum(still),
        longest=longest_run(still),
        duplicate=sum(np.array_equal(a, b) for a, b in pairwise(rgb)),
    )


def is_still(blocks: np.ndarray, *, zero: int, scale: float) -> bool:
    """Whether nothing moves in a flow field.

    Args:
        blocks: uint8, any shape: the mean code of each block of u and of v.
        zero: the code of no motion.
        scale: codes a pixel.
    """
    moving = np.count_nonzero(np.abs(blocks.astype(np.int16) - zero) > STILL_PX * scale)
    return bool(moving <= MOVING_SHARE * blocks.size)


def longest_run(flags: Sequence[bool]) -> int:
    """Most true values one after the other.

    Example:
        >>> longest_run([True, False, True, True, False])
        2
    """
    changes = np.flatnonzero(np.diff([False, *flags, False]))
    return int((changes[1::2] - changes[::2]).max(initial=0))
