"""Clips that look the same, by perceptual hashes of their frames.

A hash is that of Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010: signs of the 63
lowest waves of the picture's cosine transform. It stays nearly the same when a picture is scaled, recoded or slightly
changed in brightness. Two clips are compared at the same places of their length, so one that starts a second later is
not found.
"""

from collections.abc import Sequence

import cv2
import numpy as np

LOOKS = 3
"""Frames of a clip that are compared."""
NEAR_BITS = 12
"""Most bits, of 3 times 63, in which two clips that look the same differ; the others differ in half of them."""
_SIDE, _WAVES = 32, 8
_LEAST_CONTRAST = 8.0
"""Standard deviation in gray levels below which a picture is plain, and its hash noise."""


def look_hash(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The hashes of a clip.

    Args:
        pictures: uint8 [H, W, 3] each, red first, `LOOKS` of them.

    Returns:
        uint64 [LOOKS]; empty where there are fewer pictures or one of them is plain.
    """
    small = [
        cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        for picture in pictures
    ]
    if len(small) < LOOKS or min(float(picture.std()) for picture in small) < _LEAST_CONTRAST:
        return np.zeros(0, np.uint64)
    return np.array([_hash(picture) for picture in small], np.uint64)


def same_looks(hashes: np.ndarray) -> list[list[int]]:
    """Groups of two or more clips that look the same as their first.

    Args:
        hashes: uint64 [clips, LOOKS].

    Returns:
        Rows of each group, rising; a clip is in one group at most.
    """
    first = np.zeros_like(hashes)
    rows_of: list[list[int]] = []
    for row, look in enumerate(hashes):
        differing = np.bitwise_count(first[: len(rows_of)] ^ look).sum(axis=1)
        near = np.flatnonzero(differing <= NEAR_BITS)
        if len(near):
            rows_of[int(near[0])].append(row)
        else:
            first[len(rows_of)] = look
            rows_of.append([row])
    return [rows for rows in rows_of if len(rows) > 1]


def _hash(picture: np.ndarray) -> int:
    waves = cv2.dct(picture.astype(np.float32))[:_WAVES, :_WAVES].ravel()[1:]
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes())
