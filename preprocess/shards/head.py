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
from preprocess.shards.layout import COLUMNS, STREAMS, ClipTable, ShardAttributes

_DATASETS: dict[str, str] = {
    **{f"clips/{column}": dtype for column, dtype in COLUMNS.items()},
    **{f"{stream}/offset": "int64" for stream in STREAMS},
    **{f"{stream}/data": "uint8" for stream in STREAMS},
}

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
            attributes = ShardAttributes.from_hdf5(_plain_attributes(opened), source=source)
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
    except OSError as error:
        raise BadShard(f"{source} cannot be opened as HDF5: {error}; run `preprocess flow` again") from error
    _check_table(clips, places, source=source)
    return ShardHead(attributes=attributes, clips=clips, places=places)


def audit(file: h5py.File, *, file_bytes: int, source: str) -> dict[str, h5py.Dataset]:
    """The datasets of the contract, each a plain contiguous array inside this very file.

    Raises:
        BadShard: a link, external storage, virtual, chunked or filtered dataset, wrong type, size beyond the file.
    """
    datasets = {}
    for name, dtype in _DATASETS.items():
        group, leaf = name.split("/")
        for parent, child in ((file, group), (file.get(group), leaf)):
            if parent is None or not isinstance(parent.get(child, getlink=True, default=None), h5py.HardLink):
                raise BadShard(f"{source}: /{name} is missing or a link")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != 1:
            raise BadShard(f"{source}: /{name} is not a one-dimensional dataset")
        wrong_type = dataset.dtype.kind != "S" if dtype == "S" else dataset.dtype != np.dtype(dtype)
        plain = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS and not dataset.external
        if wrong_type or not plain:
            raise BadShard(
                f"{source}: /{name} must be contiguous {dtype} in this file, found {dataset.dtype}, plain={plain}"
            )
        end = (dataset.id.get_offset() or 0) + dataset.nbytes
        if end > file_bytes:
            raise BadShard(f"{source}: /{name} ends at byte {end} of a file of {file_bytes} bytes")
        datasets[name] = dataset
    return datasets


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


def _check_table(clips: ClipTable, places: np.ndarray, *, source: str) -> None:
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


def _plain_attributes(file: h5py.File) -> dict[str, object]:
    # only scalars: an object or reference attribute is not ours
    return {name: value for name, value in file.attrs.items() if np.isscalar(value)}
