"""JPEGs of a shard to pixels with OpenCV: the reference for every other decoder.

Shapes: T = frames, H, W = pixels.
"""

import cv2
import numpy as np

from pipelines.checksum import crc_fault
from preprocess.errors import BadShard
from preprocess.shards import ShardSet

# frames are stored upright: what a JPEG of somebody else may say of it is not looked at
_MODES = {
    "rgb": cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    "flow": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
}


def decode_rgb(shards: ShardSet, *, clip: int, frame: int) -> np.ndarray:
    """One frame.

    Args:
        shards: the clips of a split.
        clip: row of its clip table.
        frame: number within the clip, from 0.

    Returns:
        uint8 [H, W, 3], red first.

    Raises:
        BadShard: the JPEG cannot be decoded or has another size than the clip table says.
    """
    return decode(shards.jpeg("rgb", clip, frame), shards, stream="rgb", clip=clip, frame=frame)


def decode_flow(shards: ShardSet, *, clip: int, frame: int) -> np.ndarray:
    """The codes of one flow field, from `frame` to the next.

    Args:
        shards: the clips of a split.
        clip: row of its clip table.
        frame: number within the clip, from 0.

    Returns:
        uint8 [2, H, W], u before v; 128 is no motion, `attributes.flow_scale` codes are a pixel.

    Raises:
        BadShard: the JPEG cannot be decoded or has another size than the clip table says.
    """
    stacked = decode(shards.jpeg("flow", clip, frame), shards, stream="flow", clip=clip, frame=frame)
    return stacked.reshape(2, -1, stacked.shape[1])


def decode(jpeg: np.ndarray, shards: ShardSet, *, stream: str, clip: int, frame: int) -> np.ndarray:
    """The pixels of a JPEG that was read from `shards`.

    Args:
        jpeg: uint8 [bytes].
        shards: the clips of a split.
        stream: `rgb` or `flow`.
        clip: row of its clip table.
        frame: number within the clip, from 0.

    Returns:
        uint8, `rgb` [H, W, 3], red first, `flow` [2 H, W], u over v.

    Raises:
        BadShard: the JPEG cannot be decoded or has another size than the clip table says.
    """
    try:
        image = cv2.imdecode(jpeg, _MODES[stream])
    except cv2.error as error:
        raise broken(shards, stream=stream, clip=clip, frame=frame, what=f"fails in OpenCV: {error}") from error
    if image is None:
        raise broken(shards, stream=stream, clip=clip, frame=frame, what="is not a JPEG")
    height, width = int(shards.clips.height[clip]), int(shards.clips.width[clip])
    if image.shape[:2] != (2 * height if stream == "flow" else height, width):
        what = f"has {image.shape[0]}x{image.shape[1]} pixels"
        raise broken(shards, stream=stream, clip=clip, frame=frame, what=what)
    return image


def broken(shards: ShardSet, *, stream: str, clip: int, frame: int, what: str) -> BadShard:
    """The error for a frame that `what` is wrong with, and whether its clip is still as it was written."""
    height, width = int(shards.clips.height[clip]), int(shards.clips.width[clip])
    why = crc_fault(shards, stream=stream, clip=clip) or f"the clip's {stream} has the CRC-32 that it was written with"
    return BadShard(
        f"{shards.source(clip)}: clip {shards.key(clip)}: {stream} frame {frame} {what}, expected "
        f"{2 * height if stream == 'flow' else height}x{width}; {why}. Make its shard again with `preprocess flow`, "
        f"or go on without the clip (--on-bad-shard skip, in Python on_bad_shard='skip')"
    )
