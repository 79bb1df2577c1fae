"""Frames of shards as pixels, decoded as large as a report needs them.

Shapes: H, W = pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from preprocess.pixels import decode_jpeg
from preprocess.shards import ShardSet


def spaced(count: int, wanted: int) -> list[int]:
    """Numbers below `count`, evenly spaced, the middle one among them for an odd `wanted`; all if there are no more.

    Example:
        >>> spaced(250, 5), spaced(3, 5)
        ([25, 75, 125, 175, 225], [0, 1, 2])
    """
    if count <= wanted:
        return list(range(count))
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]


def decode_rgb(shards: ShardSet, *, clip: int, frames: Sequence[int]) -> list[np.ndarray]:
    """Frames of a clip at half their size, rounded up: uint8 [H / 2, W / 2, 3] each, red first.

    Raises:
        BadShard: a JPEG cannot be decoded or has another size than the clip table says.
    """
    pictures = _decode(shards, stream="rgb", clip=clip, frames=frames, mode=cv2.IMREAD_REDUCED_COLOR_2)
    # in the order of OpenCV's own, blue first
    return [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]


def decode_codes(shards: ShardSet, *, clip: int, frames: Sequence[int]) -> list[np.ndarray]:
    """Codes of flow fields, uint8 [2, H, W] each, u before v.

    Raises:
        BadShard: as `decode_rgb`.
    """
    stacked = _decode(shards, stream="flow", clip=clip, frames=frames, mode=cv2.IMREAD_GRAYSCALE)
    return [codes.reshape(2, -1, codes.shape[1]) for codes in stacked]


def decode_blocks(shards: ShardSet, *, clip: int) -> list[np.ndarray]:
    """Mean codes of blocks of 8x8 pixels, uint8 [2 H / 8, W / 8] of each flow field of a clip.

    Raises:
        BadShard: as `decode_rgb`.
    """
    frames = range(int(shards.clips.flow_count[clip]))
    return _decode(shards, stream="flow", clip=clip, frames=frames, mode=cv2.IMREAD_REDUCED_GRAYSCALE_8)


def _decode(shards: ShardSet, *, stream: str, clip: int, frames: Sequence[int], mode: int) -> list[np.ndarray]:
    height, width = int(shards.clips.height[clip]) * (2 if stream == "flow" else 1), int(shards.clips.width[clip])
    return [
        decode_jpeg(jpeg, height=height, width=width, source=f"{stream} frame {frame}", flags=mode)
        for frame, jpeg in zip(frames, shards.jpegs(stream, clip, frames), strict=True)
    ]
