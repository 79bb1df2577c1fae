"""One clip at a glance: a row of frames over a row of colour-coded flow, with a legend.

Shapes: H, W = pixels.
"""

import cv2
import numpy as np

from pipelines.decode import decode_flow, decode_rgb
from pipelines.flow_color import flow_to_color
from preprocess.errors import InvalidInput
from preprocess.shards import ShardSet

TILE_HEIGHT = 180
"""Pixels of a frame on the sheet; its width follows from the clip."""
MARGIN, GAP = 24, 10
HEADER, CAPTION = 62, 26
LEGEND = 150
"""Pixels of the column with the colour wheel."""

_INK, _FAINT, _PAPER = (32, 36, 42), (110, 116, 126), (250, 250, 248)
_WHEEL_RADIUS = 52


def contact_sheet(shards: ShardSet, *, clip: int, columns: int = 6) -> np.ndarray:
    """Draw a clip as evenly spaced frames over the flow that starts at each.

    Args:
        shards: the clips of a split.
        clip: row of its clip table.
        columns: frames to show; fewer if the clip has fewer flow fields.

    Returns:
        uint8 [H, W, 3], red first; the size is that of `sheet_size`.

    Raises:
        InvalidInput: no such clip, or no column.
        BadShard: a JPEG of the clip is damaged.
    """
    if not 0 <= clip < len(shards):
        raise InvalidInput(f"clip {clip} does not exist; split {shards.split!r} has clips 0 to {len(shards) - 1}")
    if columns < 1:
        raise InvalidInput(f"columns is {columns}; it must be at least 1")
    attributes, clips = shards.attributes, shards.clips
    numbers = _spread(int(clips.flow_count[clip]), columns)
    codes = np.stack([decode_flow(shards, clip=clip, frame=number) for number in numbers])
    flow = (codes.astype(np.float32) - attributes.flow_zero) / np.float32(attributes.flow_scale)
    speed = np.hypot(flow[:, 0], flow[:, 1])
    # the few fastest pixels would make all others pale; a still clip's compression noise should stay pale
    full = max(1.0, float(np.ceil(np.percentile(speed, 99.5))))

    height, width = sheet_size(shards, clip=clip, columns=columns)
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    label = int(clips.label[clip])
    name = shards.labels[label] if 0 <= label < len(shards.labels) else "no label"
    _write(sheet, name, MARGIN, MARGIN + 16, size=24, weight=700)
    facts = (
        f"{clips.key[clip].decode()}   {shards.split}   {clips.rgb_count[clip]} frames at "
        f"{float(attributes.fps):g} fps   {clips.width[clip]}x{clips.height[clip]}"
    )
    _write(sheet, facts, MARGIN, MARGIN + 42, color=_FAINT)

    top = MARGIN + HEADER
    tile = _tile_size(shards, clip)
    for column, (number, field_2HW) in enumerate(zip(numbers, flow, strict=True)):
        left = MARGIN + column * (tile[1] + GAP)
        below = top + TILE_HEIGHT + CAPTION
        _paste(sheet, decode_rgb(shards, clip=clip, frame=number), top, left, tile)
        _write(sheet, f"frame {number}   {float(number / attributes.fps):.2f} s", left, top + TILE_HEIGHT + 17)
        _paste(sheet, flow_to_color(field_2HW, max_magnitude=full), below, left, tile)
        caption = f"{number} to {number + 1}   mean {speed[column].mean():.1f} px"
        _write(sheet, caption, left, below + TILE_HEIGHT + 17)
    _draw_legend(sheet, full=full, bound=attributes.flow_bound, top=top + TILE_HEIGHT + CAPTION)
    return sheet


def sheet_size(shards: ShardSet, *, clip: int, columns: int = 6) -> tuple[int, int]:
    """Height and width in pixels of the sheet of a clip."""
    shown = len(_spread(int(shards.clips.flow_count[clip]), columns))
    width = 2 * MARGIN + shown * (_tile_size(shards, clip)[1] + GAP) + LEGEND
    return 2 * MARGIN + HEADER + 2 * (TILE_HEIGHT + CAPTION), width


def _spread(count: int, columns: int) -> list[int]:
    return [round(number) for number in np.linspace(0, count - 1, min(columns, count)).tolist()]


def _tile_size(shards: ShardSet, clip: int) -> tuple[int, int]:
    return TILE_HEIGHT, round(TILE_HEIGHT * int(shards.clips.width[clip]) / int(shards.clips.height[clip]))


def _paste(sheet: np.ndarray, picture: np.ndarray, top: int, left: int, size: tuple[int, int]) -> None:
    shrinks = picture.shape[0] > size[0]
    resized = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    sheet[top : top + size[0], left : left + size[1]] = resized
    cv2.rectangle(sheet, (left - 1, top - 1), (left + size[1], top + size[0]), (210, 212, 214))


def _draw_legend(sheet: np.ndarray, *, full: float, bound: float, top: int) -> None:
    radius = _WHEEL_RADIUS
    left = sheet.shape[1] - MARGIN - LEGEND + 24
    grid = np.arange(-radius, radius + 1, dtype=np.float32)
    flow_2HW = np.stack(np.meshgrid(grid, grid))
    wheel = flow_to_color(flow_2HW, max_magnitude=radius)
    # the distance to the rim as opacity: a smooth edge
    inside = np.clip(radius + 0.5 - np.hypot(*flow_2HW), 0, 1)[..., None]
    middle = top + 22 + radius
    box = sheet[middle - radius : middle + radius + 1, left : left + 2 * radius + 1]
    box[:] = (inside * wheel + (1 - inside) * box).astype(np.uint8)
    center = (left + radius, middle)
    cv2.circle(sheet, center, radius // 2, (150, 150, 150), 1, cv2.LINE_AA)
    _write(sheet, "motion", left, top + 10, weight=700)
    below = middle + radius
    _write(sheet, f"rim: {full:g} px a frame", left, below + 18)
    _write(sheet, f"stored up to {bound:g} px", left, below + 36, color=_FAINT)


def _write(
    sheet: np.ndarray,
    text: str,
    left: int,
    baseline: int,
    *,
    size: int = 13,
    weight: int = 400,
    color: tuple[int, int, int] = _INK,
) -> None:
    cv2.putText(sheet, text, (left, baseline), color, cv2.FontFace("sans"), size, weight)
