"""Write a shard: the HDF5 image in memory, then one atomic publication.

In memory, because h5py can crash the process when the disk fills while it writes (h5py issue 914); plain file
writing gives a clean error. The same clips and attributes give the same bytes.
"""

from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.shards.head_checksum import HEAD_CRC, head_crc32
from preprocess.shards.index import ShardInfo
from preprocess.shards.layout import ATTRIBUTE_BYTES, COLUMNS, STREAMS, ClipTable, EncodedClip, ShardAttributes
from preprocess.shards.verify import verify_shard


def write_shard(path: Path, clips: list[EncodedClip], attributes: ShardAttributes) -> ShardInfo:
    """Publish `clips` as the shard `path`, read back and verified; returns its line of the index.

    Args:
        path: final name, `{split}-{number}-of-{count}.h5`.
        clips: rows in order; may be empty when all planned clips failed.

    Raises:
        InvalidInput: label names or failures too long for HDF5 attributes.
        EnvironmentProblem: the disk is full or read-only.
        BadShard: what was written does not read back as it should.
    """
    image = shard_image(clips, attributes)
    publish(path, image)
    _, info = verify_shard(path)
    return info


def shard_image(clips: list[EncodedClip], attributes: ShardAttributes) -> memoryview:
    """The bytes of the shard's HDF5 file."""
    buffer = BytesIO()
    # track_times off and sorted attribute names: nothing in the file depends on when or where it was made
    with h5py.File(buffer, "w", track_order=False) as file:
        for name, value in sorted(attributes.to_hdf5().items()):
            if isinstance(value, str) and len(value.encode()) > ATTRIBUTE_BYTES:
                raise InvalidInput(
                    f"shard attribute {name!r} takes {len(value.encode())} bytes; HDF5 holds {ATTRIBUTE_BYTES}"
                )
            file.attrs[name] = value
        table = ClipTable.of(clips)
        file.attrs[HEAD_CRC] = head_crc32(attributes, table)
        for column in COLUMNS:
            file.create_dataset(f"clips/{column}", data=getattr(table, column), track_times=False)
        for stream in STREAMS:
            _write_stream(file, stream, [jpeg for clip in clips for jpeg in getattr(clip, stream)])
    return buffer.getbuffer()


def _write_stream(file: h5py.File, stream: str, jpegs: list[bytes]) -> None:
    offset = np.cumsum([0, *map(len, jpegs)], dtype=np.int64)
    file.create_dataset(f"{stream}/offset", data=offset, track_times=False)
    data = file.create_dataset(f"{stream}/data", shape=(int(offset[-1]),), dtype=np.uint8, track_times=False)
    # in runs of some MB: one joined copy would double the memory, one call a JPEG is slow
    run, run_start, run_bytes = [], 0, 0
    for jpeg in jpegs:
        run.append(jpeg)
        run_bytes += len(jpeg)
        if run_bytes > 8 << 20:
            data[run_start : run_start + run_bytes] = np.frombuffer(b"".join(run), np.uint8)
            run, run_start, run_bytes = [], run_start + run_bytes, 0
    if run:
        data[run_start : run_start + run_bytes] = np.frombuffer(b"".join(run), np.uint8)
