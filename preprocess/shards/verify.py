"""Check a shard against every promise of the contract that needs no decoding."""

import zlib
from pathlib import Path

import numpy as np

from preprocess.errors import BadShard
from preprocess.shards.layout import STREAMS
from preprocess.shards.read import Shard

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def verify_shard(path: Path) -> Shard:
    """Structure, counts, offsets, JPEG markers and every clip's CRC-32; returns the shard when all hold.

    Raises:
        BadShard: naming the shard and, where one is at fault, the clip.
    """
    shard = Shard(path)
    keys = shard.clips.key
    if len(np.unique(keys)) != len(keys):
        raise BadShard(f"{path}: a clip key occurs twice")
    for row, key in enumerate(keys):
        for stream in STREAMS:
            found = zlib.crc32(shard.clip_bytes(stream, row).data)
            expected = int(getattr(shard.clips, f"{stream}_crc32")[row])
            if found != expected:
                raise BadShard(
                    f"{path}: clip {key.decode()}: {stream} has CRC-32 {found:08x}, written as {expected:08x}"
                )
            first = int(getattr(shard.clips, f"{stream}_first")[row])
            for frame in range(first, first + int(getattr(shard.clips, f"{stream}_count")[row])):
                jpeg = shard.jpeg(stream, frame)
                if jpeg[:2].tobytes() != _JPEG_START or jpeg[-2:].tobytes() != _JPEG_END:
                    raise BadShard(f"{path}: clip {key.decode()}: {stream} frame {frame - first} is not a whole JPEG")
    return shard
