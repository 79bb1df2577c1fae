"""Whether a clip's bytes are still those that were written."""

import zlib

from preprocess.shards import ShardSet


def crc_fault(shards: ShardSet, *, stream: str, clip: int) -> str | None:
    """What the checksum of a clip says against it.

    Args:
        shards: the clips of a split.
        stream: `rgb` or `flow`.
        clip: row of its clip table. All its bytes are read.

    Returns:
        A sentence, or None if the bytes are as written.
    """
    found = zlib.crc32(shards.clip_bytes(stream, clip).data)
    expected = int(getattr(shards.clips, f"{stream}_crc32")[clip])
    if found == expected:
        return None
    return f"the clip's {stream} has CRC-32 {found:08x}, written as {expected:08x}: the file changed since"
