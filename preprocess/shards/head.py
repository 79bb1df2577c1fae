"""The head of a shard, audited: its attributes, its clip table, and where in the file the bytes of its frames lie.

A shard file may come from anybody. HDF5 can link to other files, hold virtual and compressed datasets and declare
terabytes in a few bytes; the audit refuses all of that before any data is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from preprocess.errors import BadShard
from preprocess.shards.head_checksum import HEAD_CRC, head_crc32
from preprocess.shards.layout import COLUMNS, STREAMS, ClipTable, ShardAttributes

_DATASETS: dict[str, str] = {
    **{f"clips/{column}": dtype for column, dtype in COLUMNS.items()},
    **{f"{stream}/offset": "int64" for stream in STREAMS},
    **{f"{stream}/data": "uint8" for stream in STREAMS},
}

_GROUPS = ("clips", *STREAMS)
_LARGEST_ATTRIBUTE = 64 << 10  # bytes; HDF5 itself stores no larger ones in an object header
_LONGEST_SIDE = 65_500  # pixels, of a JPEG that decoders take
# what h5py raises on a file that is damaged: HDF5's own errors, and numpy's on what such a file declares
_MALFORMED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, AttributeError)

OFFSETS_AT, FRAMES, DATA_AT, DATA_BYTES = range(4)
"""Columns of `ShardHead.places`: byte of the file where the offset table begins, frames (it has one entry more),
byte where the data begins, bytes of data."""


@dataclass(frozen=True, kw_only=True)
class ShardHead:
    """All of a shard but its frames; some kB."""

    attributes: ShardAttributes
    clips: ClipTable
    places: np.ndarray
    """int64 [streams in the order of `STREAMS`, 4]."""


def read_head(file: Path | BinaryIO, *, file_bytes: int, source: str) -> ShardHead:
    """Read the head of a shard.

    Args:
        file: path, or a seekable binary file of which only the needed parts are read.
        file_bytes: size of the whole file.
        source: its name in messages.

    Raises:
        BadShard: the file is damaged, breaks the contract or is of a newer version.
    """
    try:
        # locking is off: shards are written once and published whole, and many network disks cannot lock
        with h5py.File(file, "r", locking=False) as opened:
            datasets = audit(opened, file_bytes=file_bytes, source=source)
            stored = _plain_attributes(opened, source=source)
            written_crc = stored.pop(HEAD_CRC, None)
            attributes = ShardAttributes.from_hdf5(stored, source=source)
            clips = ClipTable(**{column: datasets[f"clips/{column}"][()] for column in COLUMNS})
            # an empty dataset has no place in the file
            places = np.array(
                [
                    (
                        datasets[f"{stream}/offset"].id.get_offset() or 0,
                        datasets[f"{stream}/offset"].size - 1,
                        datasets[f"{stream}/data"].id.get_offset() or 0,
                        datasets[f"{stream}/data"].size,
                    )
                    for stream in STREAMS
                ],
                dtype=np.int64,
            )
    except BadShard:
        raise
    except _MALFORMED as error:
        raise BadShard(f"{source} cannot be opened as HDF5: {error}; run `preprocess flow` again") from error
    _check_table(clips, places, labels=len(attributes.labels), source=source)
    found_crc = head_crc32(attributes, clips)
    if written_crc != found_crc:
        raise BadShard(
            f"{source}: its attributes and clip table have CRC-32 {found_crc}, written as {written_crc}: the file "
            f"changed since, or an older version made it; run `preprocess flow` again"
        )
    return ShardHead(attributes=attributes, clips=clips, places=places)


def audit(file: h5py.File, *, file_bytes: int, source: str) -> dict[str, h5py.Dataset]:
    """The datasets of the contract, each a plain contiguous array inside this very file, and nothing else in it.

    Raises:
        BadShard: a link, an object that is not of the contract, a user block, external storage, a virtual, chunked or
            filtered dataset, a wrong type, no data, a size beyond the file.
    """
    if file.userblock_size:
        raise BadShard(f"{source} begins with a user block of {file.userblock_size} bytes, which no shard has")
    _check_members(file, "/", set(_GROUPS), source=source)
    for group in _GROUPS:
        if not isinstance(file[group], h5py.Group):
            raise BadShard(f"{source}: /{group} is not a group")
        _check_members(
            file[group], f"/{group}/", {n.split("/")[1] for n in _DATASETS if n.startswith(f"{group}/")}, source=source
        )
    return {name: _plain_dataset(file, name, file_bytes=file_bytes, source=source) for name in _DATASETS}


def _check_members(group: h5py.Group, path: str, names: set[str], *, source: str) -> None:
    # the number first: a hostile file may hold millions, and a hard link may lead back to where it came from
    if len(group) > len(names):
        raise BadShard(f"{source}: {path} has {len(group)} members, the contract knows {len(names)}")
    for name in sorted(names):
        if not isinstance(group.get(name, getlink=True, default=None), h5py.HardLink):
            raise BadShard(f"{source}: {path}{name} is missing or a link")


def _plain_dataset(file: h5py.File, name: str, *, file_bytes: int, source: str) -> h5py.Dataset:
    dtype, dataset = _DATASETS[name], file[name]
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != 1:
        raise BadShard(f"{source}: /{name} is not a one-dimensional dataset")
    wrong_type = dataset.dtype.kind != "S" if dtype == "S" else dataset.dtype != np.dtype(dtype)
    plain = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS and not dataset.external
    if wrong_type or not plain:
        raise BadShard(
            f"{source}: /{name} must be contiguous {dtype} in this file, found {dataset.dtype}, plain={plain}"
        )
    if h5py.h5a.get_num_attrs(dataset.id):
        raise BadShard(f"{source}: /{name} has attributes, which the contract does not know")
    at, nbytes = dataset.id.get_offset(), dataset.shape[0] * dataset.dtype.itemsize
    if nbytes and at is None:
        raise BadShard(f"{source}: /{name} declares {nbytes} bytes and stores none")
    if (at or 0) + nbytes > file_bytes:
        raise BadShard(f"{source}: /{name} ends at byte {(at or 0) + nbytes} of a file of {file_bytes} bytes")
    return dataset


def check_offsets(offset: np.ndarray, *, stream: str, data_bytes: int, source: str) -> None:
    """That an offset table rises from 0 to the end of its data.

    Raises:
        BadShard: it does not.
    """
    if len(offset) == 0 or offset[0] != 0 or (np.diff(offset) <= 0).any() or offset[-1] != data_bytes:
        raise BadShard(f"{source}: /{stream}/offset does not rise from 0 to the {data_bytes} bytes of its data")


def same_meaning(attributes: Iterable[tuple[str, ShardAttributes]]) -> None:
    """That shards can be read as one: their numbers mean the same.

    Args:
        attributes: of each shard, with its name.

    Raises:
        BadShard: naming the first that differs, and in what.
    """
    first: tuple[str, ShardAttributes] | None = None
    for source, found in attributes:
        first = first or (source, found)
        for name in ("fps", "short_side", "flow_scale", "flow_zero", "flow_bound"):
            theirs, ours = getattr(first[1], name), getattr(found, name)
            if theirs != ours:
                raise BadShard(
                    f"{source} has {name} {ours}, {first[0]} has {theirs}; make both with one configuration of "
                    f"`preprocess flow`"
                )


def _check_table(clips: ClipTable, places: np.ndarray, *, labels: int, source: str) -> None:
    lengths = {column: len(getattr(clips, column)) for column in COLUMNS}
    if len(set(lengths.values())) != 1:
        raise BadShard(f"{source}: clip columns differ in length: {lengths}")
    for stream, place in zip(STREAMS, places, strict=True):
        frames = int(place[FRAMES])
        counts = getattr(clips, f"{stream}_count")
        expected_first = np.cumsum([0, *counts])
        firsts = getattr(clips, f"{stream}_first")
        if (counts < 1).any() or (firsts != expected_first[:-1]).any() or expected_first[-1] != frames:
            raise BadShard(f"{source}: the clips' {stream} ranges do not cover its {frames} frames in order")
    if (clips.flow_count != clips.rgb_count - 1).any():
        raise BadShard(f"{source}: a clip has flow_count other than rgb_count - 1")

    for column, low, high in (("label", -1, labels - 1), ("height", 1, _LONGEST_SIDE), ("width", 1, _LONGEST_SIDE)):
        values = getattr(clips, column)
        if len(strange := np.flatnonzero((values < low) | (values > high))):
            row = strange[0]
            raise BadShard(f"{source}: clip {clips.name(row)} has {column} {values[row]}, outside {low} to {high}")
    if not (np.isfinite(clips.time_start).all() and np.isfinite(clips.time_end).all()):
        raise BadShard(f"{source}: a clip has a time that is no number")
    if (clips.key == b"").any():
        raise BadShard(f"{source}: a clip has no key")


def _plain_attributes(file: h5py.File, *, source: str) -> dict[str, object]:
    """The attributes of the root; each must be one number or text, which is known before it is read."""
    stored: dict[str, object] = {}
    names = [*ShardAttributes().to_hdf5(), HEAD_CRC]
    found = file.attrs  # h5py opens the root anew for each look at it
    if len(found) > len(names):
        raise BadShard(f"{source} has {len(found)} attributes, the contract knows {len(names)}")
    for name in names:
        if name not in found:
            continue  # named when the attributes are put together
        attribute = found.get_id(name)
        text = h5py.check_string_dtype(attribute.dtype) is not None
        if attribute.shape != () or not (text or attribute.dtype.kind in "biuf"):
            raise BadShard(
                f"{source}: attribute {name} must be one number or text, found {attribute.dtype} of shape "
                f"{attribute.shape}"
            )
        if attribute.get_storage_size() > _LARGEST_ATTRIBUTE:
            raise BadShard(f"{source}: attribute {name} takes {attribute.get_storage_size()} bytes")
        value = found[name]
        if isinstance(value, str) and len(value) > _LARGEST_ATTRIBUTE:
            raise BadShard(f"{source}: attribute {name} is a text of {len(value)} characters")
        stored[name] = value
    return stored
