"""What a network is given: windows of clips after crop and flip, frames over colour-coded flow, drawn from a batch.

Shapes: C = channels, T = frames, H, W = pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipelines.contact_sheet import label_name, tile_size
from pipelines.decode import decode_rgb
from pipelines.loader import FLOW_STD, Batch, Loader
from pipelines.sampling import SamplePlan
from pipelines.sheet import CAPTION, GAP, HEADER, LEGEND, MARGIN, TILE_HEIGHT, Sheet, spread
from preprocess.errors import InvalidInput
from preprocess.flow_color import flow_to_color, full_speed

_OUTLINE = (255, 60, 60)
_ROW = HEADER + 2 * (TILE_HEIGHT + CAPTION) + GAP


def input_sheet(
    loader: Loader, plans: Sequence[SamplePlan], batch: Batch, *, epoch: int, columns: int = 6
) -> np.ndarray:
    """Draw the rows of a batch, and beside each the whole frame with its crop outlined.

    Args:
        loader: that the batch comes from, with both streams.
        plans: of the batch.
        batch: as `loader` yields it.
        epoch: of the batch.
        columns: frames of a window to show; fewer if it has fewer.

    Returns:
        uint8 [H, W, 3], red first; wider for clips with long frames.

    Raises:
        InvalidInput: no column, or a stream is missing.
        BadShard: a JPEG is damaged.
    """
    if columns < 1:
        raise InvalidInput(f"columns is {columns}; it must be at least 1")
    if "rgb" not in batch or "flow" not in batch:
        raise InvalidInput("a sheet shows both streams; open the loader with streams=('rgb', 'flow')")
    shards, attributes = loader.shards, loader.shards.attributes
    rows = [(plan, number) for plan in plans for number in range(len(plan.corners))]
    shown = spread(len(plans[0].frames), columns)
    flow_N2THW = batch["flow"].cpu().numpy() * np.float32(FLOW_STD / attributes.flow_scale)
    full = full_speed(np.concatenate([flow_N2THW[:, :, t] for t in shown]))
    whole_sizes = {plan.clip: tile_size(shards, plan.clip) for plan in plans}
    widest = max(width for _, width in whole_sizes.values())
    sheet = Sheet(
        2 * MARGIN + len(rows) * _ROW,
        2 * MARGIN + widest + GAP + len(shown) * (TILE_HEIGHT + GAP) + LEGEND,
    )
    for row, (plan, crop) in enumerate(rows):
        top = MARGIN + row * _ROW
        label = int(batch["label"][row])
        sheet.title(label_name(shards, label), _facts(loader, plan, crop=crop, epoch=epoch), top=top)
        top += HEADER
        whole = decode_rgb(shards, clip=plan.clip, frame=plan.frames[shown[0]])
        y, x = plan.corners[crop]
        side = loader.config.crop
        cv2.rectangle(whole, (x, y), (x + side - 1, y + side - 1), _OUTLINE, 2)
        sheet.paste(whole, top=top, left=MARGIN, size=whole_sizes[plan.clip])
        sheet.write(f"frame {plan.frames[shown[0]]} as stored", left=MARGIN, baseline=top + TILE_HEIGHT + 17)
        frames_THWC = _pixels(batch["rgb"][row].cpu().numpy())
        for column, t in enumerate(shown):
            left = MARGIN + widest + GAP + column * (TILE_HEIGHT + GAP)
            below = top + TILE_HEIGHT + CAPTION
            tile = (TILE_HEIGHT, TILE_HEIGHT)
            sheet.paste(frames_THWC[t], top=top, left=left, size=tile)
            sheet.write(f"{t}: frame {plan.frames[t]}", left=left, baseline=top + TILE_HEIGHT + 17)
            field_2HW = flow_N2THW[row, :, t]
            sheet.paste(flow_to_color(field_2HW, max_magnitude=full), top=below, left=left, size=tile)
            # + 0.0 makes -0.0 positive
            u, v = field_2HW.mean(axis=(1, 2)).round(1) + 0.0
            sheet.write(f"mean u {u:.1f}, v {v:.1f} px", left=left, baseline=below + TILE_HEIGHT + 17)
    sheet.legend(full=full, bound=attributes.flow_bound, top=MARGIN + HEADER + TILE_HEIGHT + CAPTION)
    return sheet.pixels


def _facts(loader: Loader, plan: SamplePlan, *, crop: int, epoch: int) -> str:
    clips, config = loader.shards.clips, loader.config
    top, left = plan.corners[crop]
    facts = [
        loader.shards.key(plan.clip),
        f"position {plan.position} of epoch {epoch}, seed {config.seed}",
        f"frames {plan.frames[0]} to {max(plan.frames)} of {clips.rgb_count[plan.clip]}",
        f"crop {config.crop}x{config.crop} of {clips.width[plan.clip]}x{clips.height[plan.clip]} at ({left}, {top})",
    ]
    if len(plan.decoded) < len(plan.frames):
        facts.append(f"looped after {len(plan.decoded)}")
    if plan.flip:
        facts.append("mirrored, u negated")
    if config.views > 1:
        facts.append(f"view {plan.views[crop]}, one of {config.views}")
    return "   ".join(facts)


def _pixels(input_CTHW: np.ndarray) -> np.ndarray:
    """The network's input as pictures; uint8 [T, H, W, C]."""
    return np.rint((input_CTHW.transpose(1, 2, 3, 0) + 1) * 127.5).astype(np.uint8)
