"""JPEGs of a shard to pixels with OpenCV: the reference for every other decoder.

Shapes: T = frames, H, W = pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np

from preprocess.errors import BadShard
from preprocess.shards import ShardSet


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
    return _decode(shards, "rgb", clip, frame, cv2.IMREAD_COLOR_RGB)


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
    stacked = _decode(shards, "flow", clip, frame, cv2.IMREAD_GRAYSCALE)
    return stacked.reshape(2, -1, stacked.shape[1])


def _decode(shards: ShardSet, stream: str, clip: int, frame: int, mode: int) -> np.ndarray:
    key = shards.clips.key[clip].decode()
    try:
        image = cv2.imdecode(shards.jpeg(stream, clip, frame), mode)
    except cv2.error as error:
        raise BadShard(f"{shards.folder}: clip {key}: {stream} frame {frame}: {error}") from error
    height, width = int(shards.clips.height[clip]), int(shards.clips.width[clip])
    expected = (2 * height if stream == "flow" else height, width)
    if image is None or image.shape[:2] != expected:
        found = "is not a JPEG" if image is None else f"has {image.shape[0]}x{image.shape[1]} pixels"
        raise BadShard(
            f"{shards.folder}: clip {key}: {stream} frame {frame} {found}, "
            f"expected {expected[0]}x{expected[1]}; make its shard again with `preprocess flow`"
        )
    return image


DECODERS: dict[str, Callable[..., np.ndarray]] = {"rgb": decode_rgb, "flow": decode_flow}
"""Stream to its decoder."""
