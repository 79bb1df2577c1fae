"""A JPEG of a shard as pixels; the shard may come from anybody."""

from contextlib import suppress

import cv2
import numpy as np

from preprocess.errors import BadShard
from preprocess.shards.jpeg import LONGEST_HEADER, read_jpeg_header


def decode_jpeg(content: np.ndarray, *, height: int, width: int, source: str, flags: int) -> np.ndarray:
    """Decode a JPEG, if it declares the size that the shard's table says.

    Args:
        content: uint8 [bytes].
        height: in pixels, as is `width`.
        width: likewise.
        source: names it in messages.
        flags: of `cv2.imdecode`.

    Raises:
        BadShard: no JPEG, another size, damaged, or larger than OpenCV takes.
    """
    header = read_jpeg_header(content[:LONGEST_HEADER].tobytes())
    pixels = None
    # what it declares comes first: a few bytes may declare gigabytes
    if header is not None and (header.height, header.width) == (height, width):
        with suppress(cv2.error):  # of more pixels than it takes
            pixels = cv2.imdecode(content, flags)
    if pixels is None:
        raise BadShard(f"{source} is no whole JPEG of {height}x{width} pixels; `preprocess verify` says more")
    return pixels
