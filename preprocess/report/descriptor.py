"""How a clip looks and moves in 73 numbers, and how far each clip is from the others of its class.

The numbers: a histogram of colours, four levels of each of red, green and blue, and one of the directions of motion
(HOF), eight and one for pixels that move by less than a pixel. The second is that of Laptev et al., "Learning
realistic human actions from movies", CVPR 2008, over the whole picture. Both are shares of pixels, of which the
square root is taken: the distance of two clips is then that of Hellinger, and no bin outweighs all others.
"""

from collections.abc import Sequence

import numpy as np

_LEVELS = 4
_DIRECTIONS = 8
_SLOW_PX = 1.0
_STEP = 4  # every fourth pixel along each axis is enough for shares

LEAST_CLIPS = 5
"""Of a class, for a median that one odd clip does not move."""
FAR = 3.5
"""Scores above it stand out. Source: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993."""
_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def describe(pictures: Sequence[np.ndarray], flow_T2HW: np.ndarray) -> np.ndarray:
    """The descriptor of a clip.

    Args:
        pictures: uint8 [H, W, 3] each, some of its frames.
        flow_T2HW: float32 [T, 2, H, W], px, some of its flow fields.

    Returns:
        float32 [73], of length sqrt(2).
    """
    return np.concatenate([_root_shares(_colors(pictures)), _root_shares(_directions(flow_T2HW))]).astype(np.float32)


def class_scores(descriptors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far each clip is from its class.

    The distance is that to the median of the class, number by number. Its robust z-score is taken against the median
    distance in the class; the spread of the distances, a median absolute deviation, is pooled over all classes, since
    that of a few clips says little.

    Args:
        descriptors: float32 [clips, 73].
        labels: int [clips]; below 0 is none.

    Returns:
        float64 [clips]; not-a-number for clips of a class with fewer than `LEAST_CLIPS`.
    """
    excess = np.full(len(labels), np.nan)
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= LEAST_CLIPS:
            distance = np.linalg.norm(descriptors[rows] - np.median(descriptors[rows], axis=0), axis=1)
            excess[rows] = distance - np.median(distance)
    judged = excess[~np.isnan(excess)]
    if not len(judged):
        return excess
    # where all clips of all classes are alike, what differs at all is far: only the division must not fail
    return excess / max(float(np.median(np.abs(judged))) * _NORMAL, 1e-6)


def _root_shares(counts: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(counts / counts.sum())
    return root


def _colors(pictures: Sequence[np.ndarray]) -> np.ndarray:
    bins = _LEVELS**3
    counts = np.zeros(bins, np.int64)
    for picture in pictures:
        red, green, blue = np.moveaxis(picture.astype(np.int64) * _LEVELS // 256, -1, 0)
        counts += np.bincount(((red * _LEVELS + green) * _LEVELS + blue).ravel(), minlength=bins)
    return counts


def _directions(flow_T2HW: np.ndarray) -> np.ndarray:
    u, v = flow_T2HW[:, :, ::_STEP, ::_STEP].swapaxes(0, 1).reshape(2, -1)
    # the first direction is to the right, in the middle of its bin
    turn = np.rint(np.arctan2(v, u) * (_DIRECTIONS / (2 * np.pi))).astype(np.int64) % _DIRECTIONS
    return np.bincount(np.where(np.hypot(u, v) < _SLOW_PX, _DIRECTIONS, turn), minlength=_DIRECTIONS + 1)
