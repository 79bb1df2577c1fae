"""Small pictures for the page: the middle frame of a clip beside the flow that starts there.

Shapes: H, W = pixels.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.flow_color import flow_to_color, full_speed
from preprocess.report.frames import decode_codes, decode_rgb
from preprocess.shards import ShardSet

PICTURE_HEIGHT = 96
"""Pixels of a picture."""
_WIDEST = 2.0  # times the height; wider and taller frames are squeezed
_TALLEST = 0.5
_QUALITY = 80
_GAP = 2
BUDGET = 8 << 20
"""Bytes of all pictures of the contact sheets together; as text they take a third more."""
MOST_PICTURES = BUDGET // 2048
"""None has fewer bytes than that, but for plain ones, so it is no use to draw more."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame and its flow, side by side."""

    clip: int
    """Row of the shard set."""
    jpeg: bytes
    width: int
    """Pixels; its height is `PICTURE_HEIGHT`."""
    full_px: float
    """Speed of full colour, px a frame."""

    @property
    def uri(self) -> str:
        """The picture as the source of an `img`."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode()}"


def draw_picture(shards: ShardSet, clip: int) -> Picture:
    """The picture of a clip.

    Raises:
        BadShard: its frame cannot be decoded.
    """
    middle = int(shards.clips.flow_count[clip]) // 2
    (rgb,) = decode_rgb(shards, clip=clip, frames=[middle])
    (codes_2HW,) = decode_codes(shards, clip=clip, frames=[middle])
    height, width = codes_2HW.shape[1:]
    size = round(PICTURE_HEIGHT * min(max(width / height, _TALLEST), _WIDEST)), PICTURE_HEIGHT
    whole_2HW = shards.attributes.to_flow(codes_2HW)
    flow_2HW = np.stack([cv2.resize(axis, size, interpolation=cv2.INTER_AREA) for axis in whole_2HW])
    full_px = full_speed(flow_2HW)
    frame = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    gap = np.full((PICTURE_HEIGHT, _GAP, 3), 255, np.uint8)
    both = np.hstack([frame, gap, flow_to_color(flow_2HW, max_magnitude=full_px)])
    return Picture(clip=clip, jpeg=_encode(both), width=both.shape[1], full_px=full_px)


def color_wheel_uri() -> str:
    """The colours of the directions of motion, as the source of an `img`."""
    radius = 36
    grid = np.arange(-radius, radius + 1, dtype=np.float32)
    flow_2HW = np.stack(np.meshgrid(grid, grid))
    wheel = flow_to_color(flow_2HW, max_magnitude=radius)
    inside = (np.hypot(*flow_2HW) <= radius).astype(np.uint8) * 255
    png = cv2.imencode(".png", np.dstack([wheel[..., ::-1], inside]))[1]
    return f"data:image/png;base64,{b64encode(png.tobytes()).decode()}"


def within_budget(rows: Iterable[int], pictures: Mapping[int, Picture]) -> set[int]:
    """The first clips of `rows` whose pictures take no more than `BUDGET` together."""
    kept: set[int] = set()
    spent = 0
    for row in rows:
        if row in pictures:
            spent += len(pictures[row].jpeg)
            if spent > BUDGET:
                break
            kept.add(row)
    return kept


def _encode(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
