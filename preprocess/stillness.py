"""Where a video's picture stands still, and where it is black: what a broken upload or a slide show looks like.

The rules are those of FFmpeg's filters `freezedetect` and `blackdetect` with their default settings, so that their
users know what the figures mean. A stretch of black stands still as well, and counts as both. Where an encoder draws
a still picture afresh at a key frame, it may differ by more than the noise; the stretch ends there and another begins.

Shapes: H, W = pixels.
"""

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
    """Finds the stretches while the frames of a video go by."""

    def __init__(self) -> None:
        self.frozen: list[Stretch] = []
        """Complete after `close`."""
        self.black: list[Stretch] = []
        """Likewise."""
        self._reference: tuple[Sequence[np.ndarray], Fraction] | None = None
        self._black_since_s: Fraction | None = None

    def add(self, time_s: Fraction, planes: Sequence[np.ndarray], *, full_range: bool) -> None:
        """Look at the next frame.

        Args:
            time_s: presentation time, later than that of the frame before.
            planes: uint8 [H, W] each, as many for all frames, the luma first. Kept, not copied, so they must not
                change.
            full_range: whether black is luma 0 and white 255, or else 16 and 235.
        """
        # against the first frame of the stretch, not the one before: a slow pan or fade differs little from one frame
        # to the next, and must not count as still
        if self._reference is None or not is_still(planes, self._reference[0]):
            self._end_frozen(time_s)
            self._reference = planes, time_s
        if is_black(planes[0], full_range=full_range):
            if self._black_since_s is None:
                self._black_since_s = time_s
        else:
            self._end_black(time_s)

    def close(self, end_s: Fraction) -> None:
        """End the stretches that last until the end of the video, `end_s`."""
        self._end_frozen(end_s)
        self._end_black(end_s)

    def _end_frozen(self, time_s: Fraction) -> None:
        if self._reference is not None:
            _append(self.frozen, start_s=self._reference[1], end_s=time_s)
        self._reference = None

    def _end_black(self, time_s: Fraction) -> None:
        if self._black_since_s is not None:
            _append(self.black, start_s=self._black_since_s, end_s=time_s)
        self._black_since_s = None


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


def _append(stretches: list[Stretch], *, start_s: Fraction, end_s: Fraction) -> None:
    if end_s - start_s >= MIN_STRETCH_S:
        stretches.append(Stretch(start_s=start_s, end_s=end_s))
