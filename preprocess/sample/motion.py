"""The motion of each class, as the affine map that takes a pixel of one frame to where it is in the next.

Coordinates: x to the right, y down, in pixels; the centre of the top left pixel is (0, 0), so the centre of
the frame is ((W - 1) / 2, (H - 1) / 2). Matrices are float64 [3, 3] on columns (x, y, 1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ZOOM = 3.0
"""How far a zoom may go from the scale of the reference frame, either way: what a scene has detail for."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a motion has to fit into."""

    width: int
    """Of the frame, in pixels."""
    height: int
    """Of the frame, in pixels."""
    steps: int
    """Frames from the reference frame to the farther end of the video."""

    @property
    def radius_px(self) -> float:
        """Distance from the centre of the frame to the centre of a corner pixel."""
        return math.hypot(self.width - 1, self.height - 1) / 2

    def about_centre(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """The map that applies `linear` [2, 2] and leaves the centre of the frame where it is."""
        centre = np.array([self.width - 1, self.height - 1]) / 2
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = centre - linear @ centre
        return matrix


Motion = Callable[[float, Stage], NDArray[np.float64]]
"""(speed in px per frame, stage) -> the map from a frame to the next."""


def flow_of(matrix: NDArray[np.float64], *, width: int, height: int) -> NDArray[np.float32]:
    """Where every pixel goes: float32 [2, H, W] in px, u to the right over v down.

    The point at x in frame t is at x + flow(x) in frame t + 1.
    """
    y_HW, x_HW = np.mgrid[:height, :width].astype(np.float64)
    moves = matrix[:2] - np.eye(3)[:2]
    return np.stack([m[0] * x_HW + m[1] * y_HW + m[2] for m in moves]).astype(np.float32)


def _translation(right: int, down: int) -> Motion:
    def matrix(speed_px: float, _stage: Stage) -> NDArray[np.float64]:
        return np.array([[1, 0, right * speed_px], [0, 1, down * speed_px], [0, 0, 1]], np.float64)

    return matrix


def _zoom(direction: int) -> Motion:
    def matrix(speed_px: float, stage: Stage) -> NDArray[np.float64]:
        factor = min(1 + speed_px / stage.radius_px, MAX_ZOOM ** (1 / stage.steps))
        return stage.about_centre(np.eye(2) * factor**direction)

    return matrix


def _rotation(direction: int) -> Motion:
    def matrix(speed_px: float, stage: Stage) -> NDArray[np.float64]:
        angle = direction * speed_px / stage.radius_px
        cos, sin = math.cos(angle), math.sin(angle)
        # with y down, this matrix of a positive angle turns clockwise as seen on screen
        return stage.about_centre(np.array([[cos, -sin], [sin, cos]]))

    return matrix


MOTIONS: dict[str, Motion] = {
    "moving left": _translation(-1, 0),
    "moving right": _translation(1, 0),
    "moving up": _translation(0, -1),
    "moving down": _translation(0, 1),
    "zooming in": _zoom(1),
    "zooming out": _zoom(-1),
    "rotating clockwise": _rotation(1),
    "rotating counterclockwise": _rotation(-1),
}
"""Class name -> motion. The name says which way the picture content (not the camera) moves on the screen:
"moving left" has u < 0, "moving up" has v < 0, "zooming in" grows out of the centre of the frame, "rotating
clockwise" is as seen by the viewer. The two of a kind are each other's inverse: the film run backwards."""
