"""Frames whose flow is known, made on the spot."""

import cv2
import numpy as np


def moving_texture(frames: int, height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """A smooth texture that moves by (2, 1) px a frame, 10 frames at most. uint8 [T, H, W]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height + 60, width + 60)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([texture[20 - i : 20 - i + height, 40 - 2 * i : 40 - 2 * i + width] for i in range(frames)])
