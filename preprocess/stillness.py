"""Where a video's picture stands still, and where it is black: what a broken upload or a slide show looks like.

The rules are those of FFmpeg's filters `freezedetect` and `blackdetect` with their default settings, so that their
users know what the figures mean. A stretch of black stands still as well, and counts as both. Where an encoder draws
a still picture afresh at a key frame, it may differ by more than the noise; the stretch ends there and another begins.

Shapes: H, W = pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

MIN_STRETCH_S = 2
"""Shorter stretches do not count. freezedetect `d`, blackdetect `d`."""
STILL_NOISE = 0.001
"""Most by which a still picture may differ, absolute, as the mean over all samples of all planes, in shares of 256
levels. freezedetect `n`."""
BLACK_SHARE = 0.98
"""Least share of a black picture's pixels that are black. blackdetect `pic_th`."""
BLACK_LEVEL = 0.10
"""Brightest luma of a black pixel, as a share of the way from black to white. blackdetect `pix_th`."""

_LEVELS = 256
_BLACK_LUMA = {True: int(BLACK_LEVEL * 255), False: int(16 + BLACK_LEVEL * (235 - 16))}
"""Whether luma has the full range, 0 to 255, or the usual one, 16 to 235, to the brightest luma that is black."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some seconds of a video, of at least `MIN_STRETCH_S`."""

    start_s: Fraction
    """Presentation time of its first frame."""
    end_s: Fraction
    """Presentation time of the first frame that is not in it, or the end of the video."""


class Stillness:
    """Finds the stretches while the frames of a video go by.

    Args:
        time_base: seconds a tick. Times come in ticks: fractions would take as long as looking at the pictures.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._min_ticks = math.ceil(MIN_STRETCH_S / time_base)
        self.frozen: list[Stretch] = []
        """Complete after `close`."""
        self.black: list[Stretch] = []
        """Likewise."""
        self._reference: tuple[Sequence[np.ndarray], int] | None = None
        self._black_since: int | None = None

    def add(self, tick: int, planes: Sequence[np.ndarray], *, full_range: bool) -> None:
        """Look at the next frame.

        Args:
            tick: presentation time since the video's first frame, later than that of the frame before.
            planes: uint8 [H, W] each, as many for all frames, the luma first. Kept, not copied, so they must not
                change.
            full_range: whether black is luma 0 and white 255, or else 16 and 235.
        """
        # against the first frame of the stretch, not the one before: a slow pan or fade differs little from one frame
        # to the next, and must not count as still
        if self._reference is None or not is_still(planes, self._reference[0]):
            self._end_frozen(tick)
            self._reference = planes, tick
        if is_black(planes[0], full_range=full_range):
            if self._black_since is None:
                self._black_since = tick
        else:
            self._end_black(tick)

    def close(self, end: int | Fraction) -> None:
        """End the stretches that last until the end of the video, which need not be at a whole tick."""
        self._end_frozen(end)
        self._end_black(end)

    def _end_frozen(self, tick: int | Fraction) -> None:
        if self._reference is not None:
            self._append(self.frozen, since=self._reference[1], until=tick)
        self._reference = None

    def _end_black(self, tick: int | Fraction) -> None:
        if self._black_since is not None:
            self._append(self.black, since=self._black_since, until=tick)
        self._black_since = None

    def _append(self, stretches: list[Stretch], *, since: int, until: int | Fraction) -> None:
        if until - since >= self._min_ticks:
            stretches.append(Stretch(start_s=since * self._time_base, end_s=until * self._time_base))


def seconds_of(stretches: Sequence[Stretch]) -> float:
    """How long they are together."""
    return float(sum((stretch.end_s - stretch.start_s for stretch in stretches), Fraction()))


def is_still(planes: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> bool:
    """Whether the mean absolute difference of two pictures is within `STILL_NOISE`; not when their shapes differ."""
    room = STILL_NOISE * _LEVELS * sum(plane.size for plane in planes)
    for plane, other in zip(planes, reference, strict=True):
        if plane.shape != other.shape:  # a stream may change how much colour it holds midway
            return False
        room -= cv2.norm(plane, other, cv2.NORM_L1)
        if room < 0:  # most pictures move so much that their luma alone settles it
            return False
    return True


def is_black(luma_HW: np.ndarray, *, full_range: bool) -> bool:
    """Whether `BLACK_SHARE` of a picture is as dark as `BLACK_LEVEL` says."""
    limit = _BLACK_LUMA[full_range]
    # at most this much light is in a black picture; adding it up is several times cheaper than counting pixels
    if cv2.norm(luma_HW, cv2.NORM_L1) > (BLACK_SHARE * limit + (1 - BLACK_SHARE) * 255) * luma_HW.size:
        return False
    return int(np.count_nonzero(luma_HW <= limit)) >= BLACK_SHARE * luma_HW.size
