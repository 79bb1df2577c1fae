"""What every backend asks of the frames of a clip."""

from typing import Any

import numpy as np

from preprocess.errors import InvalidInput

MIN_SIDE = 16
"""Pixels; the pyramid has no level smaller than this."""


def check_frames(frames_THW: Any) -> None:  # a NumPy or CuPy array
    """Refuse what is no clip.

    Raises:
        InvalidInput: not uint8 [T, H, W], fewer than 2 frames, or a side below `MIN_SIDE`.
    """
    shape: tuple[int, ...] = getattr(frames_THW, "shape", ())
    dtype = getattr(frames_THW, "dtype", type(frames_THW).__name__)
    if dtype != np.uint8 or len(shape) != 3:
        raise InvalidInput(f"frames must be a uint8 array [T, H, W] of gray levels, got {dtype} {shape}")
    if shape[0] < 2 or min(shape[1:]) < MIN_SIDE:
        raise InvalidInput(f"frames must be at least 2, of at least {MIN_SIDE} x {MIN_SIDE} px, got shape {shape}")
