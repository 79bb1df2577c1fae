"""One clip as it is stored: a row of frames over a row of colour-coded flow, with a legend.

Shapes: H, W = pixels.
"""

import numpy as np

from pipelines.decode import decode_flow, decode_rgb
from pipelines.sheet import CAPTION, GAP, HEADER, LEGEND, MARGIN, TILE_HEIGHT, Sheet, spread
from preprocess.errors import InvalidInput
from preprocess.flow_color import flow_to_color, full_speed
from preprocess.shards import ShardSet


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
    numbers = spread(int(clips.flow_count[clip]), columns)
    codes = np.stack([decode_flow(shards, clip=clip, frame=number) for number in numbers])
    flow = attributes.to_flow(codes)
    full = full_speed(flow)

    sheet = Sheet(*sheet_size(shards, clip=clip, columns=columns))
    facts = (
        f"{shards.key(clip)}   {shards.split}   {clips.rgb_count[clip]} frames at "
        f"{float(attributes.fps):g} fps   {clips.width[clip]}x{clips.height[clip]}"
    )
    sheet.title(label_name(shards, int(clips.label[clip])), facts, top=MARGIN)

    top = MARGIN + HEADER
    tile = tile_size(shards, clip)
    for column, (number, field_2HW) in enumerate(zip(numbers, flow, strict=True)):
        left = MARGIN + column * (tile[1] + GAP)
        below = top + TILE_HEIGHT + CAPTION
        sheet.paste(decode_rgb(shards, clip=clip, frame=number), top=top, left=left, size=tile)
        caption = f"frame {number}   {float(number / attributes.fps):.2f} s"
        sheet.write(caption, left=left, baseline=top + TILE_HEIGHT + 17)
        sheet.paste(flow_to_color(field_2HW, max_magnitude=full), top=below, left=left, size=tile)
        caption = f"{number} to {number + 1}   mean {np.hypot(*field_2HW).mean():.1f} px"
        sheet.write(caption, left=left, baseline=below + TILE_HEIGHT + 17)
    sheet.legend(full=full, bound=attributes.flow_bound, top=top + TILE_HEIGHT + CAPTION)
    return sheet.pixels


def sheet_size(shards: ShardSet, *, clip: int, columns: int = 6) -> tuple[int, int]:
    """Height and width in pixels of the sheet of a clip."""
    shown = len(spread(int(shards.clips.flow_count[clip]), columns))
    width = 2 * MARGIN + shown * (tile_size(shards, clip)[1] + GAP) + LEGEND
    return 2 * MARGIN + HEADER + 2 * (TILE_HEIGHT + CAPTION), width


def label_name(shards: ShardSet, label: int) -> str:
    """The name of a label, or what to write where there is none."""
    return shards.labels[label] if 0 <= label < len(shards.labels) else "no label"


def tile_size(shards: ShardSet, clip: int) -> tuple[int, int]:
    """Height and width in pixels of a whole frame of a clip on a sheet."""
    return TILE_HEIGHT, round(TILE_HEIGHT * int(shards.clips.width[clip]) / int(shards.clips.height[clip]))
