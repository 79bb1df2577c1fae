"""Pictures made for pages: thumbnails of frames, the colours of flow codes, and their legend.

Shapes: H, W = pixels, U, V = codes.
"""

from functools import lru_cache

import cv2
import numpy as np

from preprocess.flow.quantise import dequantise
from preprocess.flow_color import flow_to_color
from preprocess.pixels import decode_jpeg

THUMBNAIL_PX = 160
"""Longer side."""
LEGEND_PX = 192
MAGNITUDES = (5, 10, 20)
"""Pixels a frame that are drawn in full colour."""

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def thumbnail(content: np.ndarray, *, height: int, width: int, source: str) -> bytes:
    """A small JPEG of a large one.

    Raises:
        BadShard: as `decode_jpeg`.
    """
    longest = max(height, width)
    # the decoder's own scaling reads a quarter or less of the coefficients
    scale = next((scale for scale in _REDUCED if longest // scale >= THUMBNAIL_PX), 1)
    flags = _REDUCED.get(scale, cv2.IMREAD_COLOR)
    image = decode_jpeg(content, height=height, width=width, source=source, flags=flags)
    share = min(1.0, THUMBNAIL_PX / longest)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


@lru_cache(maxsize=len(MAGNITUDES))
def code_colors(max_magnitude: int) -> bytes:
    """A PNG whose pixel (x, y) is the colour of the flow with codes u = x, v = y. 256x256."""
    codes_UV = np.arange(256, dtype=np.uint8)
    u_VU, v_VU = np.meshgrid(dequantise(codes_UV), dequantise(codes_UV))
    return _png(flow_to_color(np.stack([u_VU, v_VU]), max_magnitude=max_magnitude))


@lru_cache(maxsize=1)
def legend() -> bytes:
    """A PNG of the wheel: every flow up to the full colour, its place in the disc its direction and speed."""
    side = np.linspace(-1, 1, LEGEND_PX, dtype=np.float32)
    u_HW, v_HW = np.meshgrid(side, side)
    color_HW3 = flow_to_color(np.stack([u_HW, v_HW]), max_magnitude=1.0)
    # one pixel of soft edge
    alpha_HW = np.clip((1 - np.hypot(u_HW, v_HW)) * LEGEND_PX / 2, 0, 1) * 255
    return _png(np.dstack([color_HW3, alpha_HW.astype(np.uint8)]))


def _png(image: np.ndarray) -> bytes:
    code = cv2.COLOR_RGBA2BGRA if image.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(image, code))[1].tobytes()
