"""Read shards: audited tables by h5py, bytes by `mmap` without a copy.

A shard file may come from anybody. HDF5 can link to other files, hold virtual and compressed datasets and declare
terabytes in a few bytes; the audit refuses all of that before any data is read.
"""

import mmap
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from preprocess.errors import BadShard, InvalidInput
from preprocess.shards.index import Index
from preprocess.shards.layout import COLUMNS, STREAMS, ClipTable, ShardAttributes

_DATASETS: dict[str, str] = {
    **{f"clips/{column}": dtype for column, dtype in COLUMNS.items()},
    **{f"{stream}/offset": "int64" for stream in STREAMS},
    **{f"{stream}/data": "uint8" for stream in STREAMS},
}


class Shard:
    """One shard file, open for reading.

    Tables are read at once and the HDF5 handle is closed again; the JPEG bytes are mapped lazily, once in each
    process, so a shard may be opened before a fork or sent to another process.

    Args:
        path: an `.h5` file of the shard contract.

    Raises:
        BadShard: the file is damaged or breaks the contract.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file_bytes = path.stat().st_size if path.is_file() else 0
        try:
            with h5py.File(path, "r") as file:
                datasets = audit(file, file_bytes=self._file_bytes, source=str(path))
                self.attributes = ShardAttributes.from_hdf5(_plain_attributes(file), source=str(path))
                self.clips = ClipTable(**{column: datasets[f"clips/{column}"][()] for column in COLUMNS})
                self._offset = {stream: datasets[f"{stream}/offset"][()] for stream in STREAMS}
                # an empty dataset has no place in the file
                self._start = {stream: datasets[f"{stream}/data"].id.get_offset() or 0 for stream in STREAMS}
                data_bytes = {stream: datasets[f"{stream}/data"].size for stream in STREAMS}
        except OSError as error:
            raise BadShard(f"{path} cannot be opened as HDF5: {error}") from error
        self._check_tables(data_bytes)

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Shard({self.path.name}, clips={len(self)})"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_map"}

    def jpeg(self, stream: str, index: int) -> np.ndarray:
        """One JPEG as a read-only view into the mapped file.

        Args:
            stream: `rgb` or `flow`.
            index: frame number within the shard, from 0; a clip's frames start at `clips.rgb_first` or `flow_first`.

        Returns:
            uint8 [bytes].
        """
        offset = self._offset[stream]
        start = self._start[stream]
        return self._map[start + offset[index] : start + offset[index + 1]]

    def clip_bytes(self, stream: str, row: int) -> np.ndarray:
        """All JPEGs of one clip, one after the other: what its CRC is taken over. uint8 [bytes], a view."""
        first = getattr(self.clips, f"{stream}_first")[row]
        last = first + getattr(self.clips, f"{stream}_count")[row]
        offset = self._offset[stream]
        start = self._start[stream]
        view: np.ndarray = self._map[start + offset[first] : start + offset[last]]
        return view

    @cached_property
    def _map(self) -> np.ndarray:
        with self.path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)

    def _check_tables(self, data_bytes: dict[str, int]) -> None:
        lengths = {column: len(getattr(self.clips, column)) for column in COLUMNS}
        if len(set(lengths.values())) != 1:
            raise BadShard(f"{self.path}: clip columns differ in length: {lengths}")
        for stream in STREAMS:
            offset = self._offset[stream]
            if len(offset) == 0 or offset[0] != 0 or (np.diff(offset) <= 0).any() or offset[-1] != data_bytes[stream]:
                raise BadShard(
                    f"{self.path}: /{stream}/offset does not rise from 0 to the {data_bytes[stream]} bytes of its data"
                )
            counts = getattr(self.clips, f"{stream}_count")
            expected_first = np.cumsum([0, *counts])
            firsts = getattr(self.clips, f"{stream}_first")
            if (counts < 1).any() or (firsts != expected_first[:-1]).any() or expected_first[-1] != len(offset) - 1:
                raise BadShard(
                    f"{self.path}: the clips' {stream} ranges do not cover its {len(offset) - 1} frames in order"
                )
        if (self.clips.flow_count != self.clips.rgb_count - 1).any():
            raise BadShard(f"{self.path}: a clip has flow_count other than rgb_count - 1")


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


def _plain_attributes(file: h5py.File) -> dict[str, object]:
    # only scalars: an object or reference attribute is not ours
    return {name: value for name, value in file.attrs.items() if np.isscalar(value)}


class ShardSet:
    """All shards of one split that `index.json` names, as one list of clips.

    Args:
        folder: the folder of `index.json`.
        split: one of `preprocess.shards.layout.SPLITS`.

    Raises:
        InvalidInput: no index, or no clip in that split.
        BadShard: a shard is missing, has another size than the index says, or breaks the contract.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        self.split = split
        self.index = Index.read(folder)
        infos = [info for info in self.index.of_split(split) if info.clips]
        if not infos:
            raise InvalidInput(
                f"{folder} has no clips in split {split!r}; it has {', '.join(self.index.splits()) or 'none at all'}"
            )
        for info in infos:
            size = (folder / info.name).stat().st_size if (folder / info.name).is_file() else None
            if size != info.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise BadShard(
                    f"{folder / info.name} {found}, the index says {info.bytes} bytes; run `preprocess flow` again"
                )
        self.shards = [Shard(folder / info.name) for info in infos]
        self.clips = ClipTable.concatenate([shard.clips for shard in self.shards])
        """Rows of all shards; `rgb_first` and `flow_first` count within the row's own shard."""
        self.shard_of_clip = np.repeat(np.arange(len(self.shards)), [len(shard) for shard in self.shards])
        """int64 [clips]: index into `shards`."""

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, from the index."""
        return self.index.labels

    @property
    def attributes(self) -> ShardAttributes:
        """Of the first shard; all shards of a set are made with one configuration."""
        return self.shards[0].attributes

    def jpeg(self, stream: str, clip: int, frame: int) -> np.ndarray:
        """Frame (or flow field) `frame` of clip `clip`, as uint8 [bytes], a view without a copy."""
        shard = self.shards[int(self.shard_of_clip[clip])]
        return shard.jpeg(stream, int(getattr(self.clips, f"{stream}_first")[clip]) + frame)
