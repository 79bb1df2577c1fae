"""The checksum of what a reader believes of a shard before it has read a frame: its attributes and its clip table.

HDF5 stores them without one, and a label that changed by a flipped bit would be learned. It is taken over the values,
not over their place in the file.
"""

import json
import zlib

from preprocess.shards.layout import COLUMNS, ClipTable, ShardAttributes

HEAD_CRC = "head_crc32"
"""The attribute of the root that holds it."""


def head_crc32(attributes: ShardAttributes, clips: ClipTable) -> int:
    """zlib's CRC-32 over the attributes as JSON, sorted by name, then over the columns in the order of `COLUMNS`.

    Keys are taken without the zeros that fill them up.
    """
    value = zlib.crc32(json.dumps(attributes.to_hdf5(), sort_keys=True).encode())
    for column in COLUMNS:
        array = getattr(clips, column)
        value = zlib.crc32(b"\0".join(array.tolist()) if column == "key" else array.tobytes(), value)
    return value
