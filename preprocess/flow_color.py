"""Optical flow as colours: hue is direction, saturation is speed.

Source: the colour coding of Baker, Scharstein, Lewis, Roth, Black and Szeliski, "A Database and Evaluation
Methodology for Optical Flow", IJCV 92 (2011), https://vision.middlebury.edu/flow/.

Shapes: H, W = pixels.
"""

import numpy as np

from preprocess.errors import InvalidInput

_ARCS = (
    ("red", "yellow", 15),
    ("yellow", "green", 6),
    ("green", "cyan", 4),
    ("cyan", "blue", 11),
    ("blue", "magenta", 13),
    ("magenta", "red", 6),
)
"""From one hue to the next, in so many steps."""

_COLORS = {
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "magenta": (255, 0, 255),
}

UNKNOWN_ABOVE = 1e9
"""Flow at least this large, or not finite, is unknown by the data set's convention, and drawn black."""


def color_wheel() -> np.ndarray:
    """The 55 hues of the wheel, starting with the colour of motion to the right.

    Returns:
        float64 [55, 3], red, green and blue in 0 to 255; more steps where the eye tells hues apart.
    """
    arcs = [np.linspace(_COLORS[start], _COLORS[end], n, endpoint=False) for start, end, n in _ARCS]
    return np.floor(np.concatenate(arcs))


def full_speed(flow: np.ndarray) -> float:
    """A good speed of full saturation for some flow, [..., 2, H, W] in pixels a frame.

    The few fastest pixels would make all others pale; the noise of a still clip stays so.
    """
    return max(1.0, float(np.ceil(np.percentile(np.hypot(*np.moveaxis(flow, -3, 0)), 99.5))))


def flow_to_color(flow: np.ndarray, *, max_magnitude: float | None = None) -> np.ndarray:
    """Colour-code flow fields; no motion is white.

    Args:
        flow: floating point [..., 2, H, W], u (to the right) before v (down), in any unit.
        max_magnitude: the speed of full saturation, in the unit of `flow`; the largest of `flow` if not given.
            Faster pixels are drawn darker.

    Returns:
        uint8 [..., H, W, 3], red first; unknown flow is black.

    Raises:
        InvalidInput: not flow, or a maximum that is not positive.
    """
    if flow.ndim < 3 or flow.shape[-3] != 2 or not np.issubdtype(flow.dtype, np.floating):
        raise InvalidInput(f"flow must be floating point [..., 2, H, W], got {flow.dtype} {flow.shape}")
    if max_magnitude is not None and not max_magnitude > 0:
        raise InvalidInput(f"max_magnitude is {max_magnitude}; it must be above 0")
    u, v = np.moveaxis(flow, -3, 0).astype(np.float64)
    unknown = ~(np.maximum(np.abs(u), np.abs(v)) < UNKNOWN_ABOVE)
    # + 0.0 makes -0.0 positive: the two lie at opposite ends of the wheel
    u, v = np.where(unknown, 0, u), np.where(unknown, 0, v) + 0.0
    speed = np.hypot(u, v)
    if max_magnitude is None:
        max_magnitude = float(speed.max(initial=0)) or 1.0
    speed = (speed / max_magnitude)[..., None]

    wheel = color_wheel()
    # atan2(-v, -u) is -pi for motion to the right, which is therefore the wheel's first colour
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = place.astype(int)
    part = (place - below)[..., None]
    hue = (1 - part) * wheel[below] + part * wheel[(below + 1) % len(wheel)]
    color = np.where(speed <= 1, 255 - speed * (255 - hue), 0.75 * hue)
    return np.where(unknown[..., None], 0, color).astype(np.uint8)
