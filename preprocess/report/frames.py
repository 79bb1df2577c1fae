"""Frames of shards as pixels, decoded as large as a report needs them.

Shapes: H, W = pixels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from preprocess.errors import BadShard
from preprocess.shards import ShardSet
from preprocess.shards.jpeg import LONGEST_HEADER, read_jpeg_header


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


def to_flow(codes: np.ndarray, shards: ShardSet) -> np.ndarray:
    """Codes as flow: float32, the same shape, px a frame."""
    attributes = shards.attributes
    flow: np.ndarray = (codes.astype(np.float32) - attributes.flow_zero) / np.float32(attributes.flow_scale)
    return flow


def _decode(shards: ShardSet, *, stream: str, clip: int, frames: Sequence[int], mode: int) -> list[Any]:
    height, width = int(shards.clips.height[clip]), int(shards.clips.width[clip])
    expected = (2 * height if stream == "flow" else height), width
    pictures = []
    for frame, jpeg in zip(frames, shards.jpegs(stream, clip, frames), strict=True):
        header = read_jpeg_header(jpeg[:LONGEST_HEADER].tobytes())
        # what it declares comes first: a few bytes may declare gigabytes
        fits = header is not None and (header.height, header.width) == expected
        picture = cv2.imdecode(jpeg, mode) if fits else None
        if picture is None:
            raise BadShard(
                f"{stream} frame {frame} is no whole JPEG of {expected[0]}x{expected[1]} pixels; `preprocess verify` "
                f"says more"
            )
        pictures.append(picture)
    return pictures
