"""What is measured on one clip: everything that a report needs of its pixels.

Shapes: T = flow fields, H, W = pixels, B = bins.
"""

from dataclasses import dataclass

import numpy as np

from preprocess.report.camera import camera_energy
from preprocess.report.descriptor import describe
from preprocess.report.frames import decode_blocks, decode_codes, decode_rgb, spaced
from preprocess.report.looks import LOOKS, look_hash
from preprocess.report.stretches import Stretches, find_stretches, is_still
from preprocess.shards import ShardSet

CODES = 256
SPEED_BINS = 57
"""As many as the fastest motion needs, along the diagonal."""
BINS_TO_BOUND = 40
"""Of them, from 0 to the bound."""


@dataclass(frozen=True, kw_only=True)
class ClipMeasures:
    """What was found in one clip."""

    clip: int
    """Row of the shard set."""
    fields: int
    """Measured pixel by pixel."""
    codes: np.ndarray
    """int64 [2, 256]: pixels of these fields by code, of u and of v."""
    speeds: np.ndarray
    """int64 [B]: pixels by speed."""
    stretches: Stretches
    """Of all fields."""
    moving_fields: int
    """Measured fields that are not still: those the camera's share is of."""
    energy: float
    """Of the moving fields, px^2."""
    explained: float
    """Of the energy, by the camera."""
    descriptor: np.ndarray
    """float32, see `preprocess.report.descriptor`."""
    look: np.ndarray
    """uint64 [LOOKS], see `preprocess.report.looks`; empty for a clip without contrast."""


def measure_clip(shards: ShardSet, clip: int, *, fields: int) -> ClipMeasures:
    """Decode and measure a clip.

    Args:
        shards: the data set.
        clip: row of its table.
        fields: most flow fields to measure pixel by pixel; all of them are looked at for stillness.

    Raises:
        BadShard: a frame of it cannot be decoded.
    """
    attributes = shards.attributes
    frames, count = int(shards.clips.rgb_count[clip]), int(shards.clips.flow_count[clip])
    zero, scale, bound = attributes.flow_zero, attributes.flow_scale, attributes.flow_bound
    still = [is_still(blocks, zero=zero, scale=scale) for blocks in decode_blocks(shards, clip=clip)]
    numbers = spaced(count, fields)
    codes_T2HW = np.stack(decode_codes(shards, clip=clip, frames=numbers))
    flow_T2HW = attributes.to_flow(codes_T2HW)
    moving = [field for number, field in zip(numbers, flow_T2HW, strict=True) if not still[number]]
    # half a code below the bound: what was clipped must not count as motion of that speed
    energies = [camera_energy(field_2HW, bound=bound - 0.5 / scale) for field_2HW in moving]
    pictures = decode_rgb(shards, clip=clip, frames=spaced(frames, LOOKS))
    return ClipMeasures(
        clip=clip,
        fields=len(numbers),
        codes=np.stack([np.bincount(codes_T2HW[:, axis].ravel(), minlength=CODES) for axis in (0, 1)]),
        speeds=np.sum([_speed_counts(field_2HW, bound=bound) for field_2HW in flow_T2HW], axis=0),
        stretches=find_stretches(still, shards.jpegs("rgb", clip, range(frames))),
        moving_fields=len(moving),
        energy=sum(energy for energy, _ in energies),
        explained=sum(explained for _, explained in energies),
        descriptor=describe(pictures, flow_T2HW),
        look=look_hash(pictures),
    )


def _speed_counts(flow_2HW: np.ndarray, *, bound: float) -> np.ndarray:
    bins = (np.hypot(*flow_2HW).ravel() * np.float32(BINS_TO_BOUND / bound)).astype(np.intp)
    return np.bincount(np.minimum(bins, SPEED_BINS - 1), minlength=SPEED_BINS)
