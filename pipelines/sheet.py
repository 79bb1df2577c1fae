"""A picture with tiles, text and a legend of flow colours, drawn with OpenCV.

Shapes: H, W = pixels.
"""

import cv2
import numpy as np

from preprocess.flow_color import flow_to_color

TILE_HEIGHT = 180
"""Pixels of a frame on the sheet; its width follows from the clip."""
MARGIN, GAP = 24, 10
HEADER, CAPTION = 62, 26
LEGEND = 150
"""Pixels of the column with the colour wheel."""

_INK, _FAINT, _PAPER, _EDGE = (32, 36, 42), (110, 116, 126), (250, 250, 248), (210, 212, 214)
_WHEEL_RADIUS = 52


class Sheet:
    """An empty sheet to draw on.

    Args:
        height: in pixels.
        width: in pixels.

    Attributes:
        pixels: uint8 [H, W, 3], red first.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.full((height, width, 3), _PAPER, np.uint8)

    def paste(self, picture: np.ndarray, *, top: int, left: int, size: tuple[int, int]) -> None:
        """Put a picture, uint8 [h, w, 3], into a tile of `size`, height and width, with a thin frame."""
        shrinks = picture.shape[0] > size[0]
        resized = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        self.pixels[top : top + size[0], left : left + size[1]] = resized
        cv2.rectangle(self.pixels, (left - 1, top - 1), (left + size[1], top + size[0]), _EDGE)

    def title(self, text: str, facts: str, *, top: int) -> None:
        """A line in large letters over one in small ones, at the left margin; `HEADER` pixels in all."""
        self.write(text, left=MARGIN, baseline=top + 16, size=24, weight=700)
        self.write(facts, left=MARGIN, baseline=top + 42, faint=True)

    def write(
        self, text: str, *, left: int, baseline: int, size: int = 13, weight: int = 400, faint: bool = False
    ) -> None:
        """One line of text."""
        color = _FAINT if faint else _INK
        cv2.putText(self.pixels, text, (left, baseline), color, cv2.FontFace("sans"), size, weight)

    def legend(self, *, full: float, bound: float, top: int) -> None:
        """The colour wheel, in the last column.

        Args:
            full: speed at its rim, in pixels a frame.
            bound: speed up to which flow is stored.
            top: of the legend, in pixels.
        """
        radius = _WHEEL_RADIUS
        left = self.pixels.shape[1] - MARGIN - LEGEND + 24
        grid = np.arange(-radius, radius + 1, dtype=np.float32)
        flow_2HW = np.stack(np.meshgrid(grid, grid))
        wheel = flow_to_color(flow_2HW, max_magnitude=radius)
        # the distance to the rim as opacity: a smooth edge
        inside = np.clip(radius + 0.5 - np.hypot(*flow_2HW), 0, 1)[..., None]
        middle = top + 22 + radius
        box = self.pixels[middle - radius : middle + radius + 1, left : left + 2 * radius + 1]
        box[:] = (inside * wheel + (1 - inside) * box).astype(np.uint8)
        cv2.circle(self.pixels, (left + radius, middle), radius // 2, (150, 150, 150), 1, cv2.LINE_AA)
        self.write("motion", left=left, baseline=top + 10, weight=700)
        below = middle + radius
        self.write(f"rim: {full:g} px a frame", left=left, baseline=below + 18)
        self.write(f"stored up to {bound:g} px", left=left, baseline=below + 36, faint=True)


def spread(count: int, columns: int) -> list[int]:
    """Evenly spaced numbers from 0 to `count - 1`, at most `columns` of them."""
    return [round(number) for number in np.linspace(0, count - 1, min(columns, count)).tolist()]
