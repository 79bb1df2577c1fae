"""Textured scenes: shapes and noise of all sizes, so that a zoomed scene looks like any other scene.

Shapes: P = period of the texture in texels, H, W = pixels of a frame.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocess.sample.motion import MAX_ZOOM

_TEXELS_PER_PX = 2
"""Resolution of a scene at zoom 1; spent when zooming in."""
_LEVELS = 4
"""Of the pyramid, each half as wide as the one before; the last serves frames zoomed out by MAX_ZOOM."""
_SAMPLES_PER_PX = 2
"""Along each axis. They are half a texel apart, so the errors of cubic interpolation cancel: OpenCV's kernel
(a = -0.75) moves what it interpolates by up to 0.047 texels, one way before the middle, then the other."""
_NOISE_GRAY, _NOISE_COLOUR = 36.0, 10.0
"""Standard deviation of the noise that all channels share, and of each channel's own; in gray levels."""
_LARGEST_SHAPE, _SMALLEST_SHAPE = 1 / 6, 6.0
"""Radius, of the largest in periods, of the smallest in texels; what is finer is left to the noise."""
_SHAPE_COVER = 0.35
"""Area of the shapes of each size, in areas of the scene."""
_SUBTEXEL_BITS = 4


class Scene:
    """A colour texture without end (it is periodic), to be looked at through any affine map."""

    def __init__(self, rng: np.random.Generator, *, width: int, height: int) -> None:
        # as wide as the longer side zoomed out by MAX_ZOOM: nothing is twice in a frame; halvings stay whole
        multiple = 2 ** (_LEVELS - 1)
        period = math.ceil(max(width, height) * _TEXELS_PER_PX * MAX_ZOOM / multiple) * multiple
        texture_PP3 = (_shapes(rng, period) + _noise(rng, period)).clip(0, 255).round().astype(np.uint8)
        self._levels = [texture_PP3]
        for _ in range(_LEVELS - 1):
            texture_PP3 = np.asarray(cv2.pyrDown(texture_PP3, borderType=cv2.BORDER_WRAP), np.uint8)
            self._levels.append(texture_PP3)

    def frame(self, to_reference: NDArray[np.float64], *, width: int, height: int) -> NDArray[np.uint8]:
        """The picture whose pixel x shows the point `to_reference` @ x of the reference frame.

        Args:
            to_reference: affine map [3, 3] between pixel coordinates, see `preprocess.sample.motion`.

        Returns:
            uint8 [H, W, 3], RGB.
        """
        texels_per_px = _TEXELS_PER_PX * math.sqrt(abs(np.linalg.det(to_reference[:2, :2])))
        # the level with a texel a pixel; in a zoom that is a mixture of two
        detail = round(min(max(math.log2(texels_per_px), 0), _LEVELS - 1), 6)
        fine = int(detail)
        part = detail - fine
        y = ((np.arange(height * _SAMPLES_PER_PX) + 0.5) / _SAMPLES_PER_PX - 0.5)[:, None]
        x = (np.arange(width * _SAMPLES_PER_PX) + 0.5) / _SAMPLES_PER_PX - 0.5
        u, v = (_TEXELS_PER_PX * (m[0] * x + m[1] * y + m[2]) for m in to_reference[:2])
        samples = self._look(fine, u, v)
        if part:
            samples = cv2.addWeighted(samples, 1 - part, self._look(fine + 1, u, v), part, 0)
        return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def _look(self, level: int, u: NDArray[np.float64], v: NDArray[np.float64]) -> cv2.typing.MatLike:
        texture = self._levels[level]
        # pyrDown keeps the even texels: texel i of a level is texel 2i of the one before, without a shift
        maps = [axis / 2**level for axis in (u, v)]
        # remap's BORDER_WRAP is right within one period only (OpenCV 5.0), so the rest is taken off before
        u32, v32 = ((axis - len(texture) * np.floor(axis / len(texture))).astype(np.float32) for axis in maps)
        return cv2.remap(texture, u32, v32, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def _noise(rng: np.random.Generator, period: int) -> NDArray[np.float32]:
    """Periodic noise float32 [P, P, 3], mean 0, as much contrast in each octave: amplitude 1/f in 2-D."""
    frequency = np.hypot(np.fft.fftfreq(period)[:, None], np.fft.rfftfreq(period))
    frequency[0, 0] = np.inf
    # as smooth as pyrDown leaves the other levels, which is as if by a Gaussian of 0.58 texels
    gain = np.exp(-2 * (math.pi * 0.58 * frequency) ** 2) / frequency
    layers = []
    for deviation in (_NOISE_GRAY, _NOISE_COLOUR, _NOISE_COLOUR, _NOISE_COLOUR):
        white_PP = rng.standard_normal((period, period))
        pink_PP = np.fft.irfft2(np.fft.rfft2(white_PP) * gain, s=(period, period))
        layers.append((pink_PP * (deviation / pink_PP.std())).astype(np.float32))
    shared_PP, *own_PP = layers
    return np.stack([shared_PP + channel_PP for channel_PP in own_PP], axis=-1)


def _shapes(rng: np.random.Generator, period: int) -> NDArray[np.float32]:
    """Convex polygons of random colours, float32 [P, P, 3]; as much area of every size, small over large."""
    canvas_PP3 = np.full((period, period, 3), 128, np.uint8)
    radius = period * _LARGEST_SHAPE
    while radius >= _SMALLEST_SHAPE:
        for _ in range(round(_SHAPE_COVER * period**2 / (math.pi * radius**2))):
            corners = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 9)))
            centre = rng.uniform(0, period, 2)
            outline = centre + radius * np.stack([np.cos(corners), np.sin(corners)], axis=-1)
            colour = rng.integers(50, 206, 3).tolist()
            for shift in _wrapped(centre, radius, period):
                fixed_point = np.rint((outline + shift) * 2**_SUBTEXEL_BITS).astype(np.int32)
                cv2.fillPoly(canvas_PP3, [fixed_point], colour, cv2.LINE_AA, _SUBTEXEL_BITS)
        radius /= 2
    return canvas_PP3.astype(np.float32)


def _wrapped(centre: NDArray[np.float64], radius: float, period: int) -> list[tuple[int, int]]:
    """Shifts at which to draw a shape so that what leaves the texture on one side comes in on the other."""
    across, down = ([s for s in (-period, 0, period) if -radius - 1 <= c + s <= period + radius + 1] for c in centre)
    return [(dx, dy) for dx in across for dy in down]
