"""A file of features: HDF5, written clip by clip, or `.npz`, kept in memory until the end.

    clip/key        text [N]           path of a video, or key of a shard's clip
    clip/label      int32 [N]          index into `labels` of `attributes`, -1 unknown
    clip/frames     int32 [N]          frames, or flow fields, that were seen
    clip/feature    float32 [N, F]
    step/first      int64 [N + 1]      steps of clip n are step/first[n] to step/first[n + 1]
    step/time       float64 [M]        seconds from the first frame of its clip
    step/feature    float32 [M, F]
    attributes      text               JSON: what the numbers mean, and which clips have none

Attributes of HDF5 would not do for the last: they end at 64 KiB.

Shapes: N = clips, M = steps of all clips, F = features.
"""

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import check_writable, publish, rename_into_place, temporary_beside

FORMAT = "kineflow-features"
VERSION = 1

_CHUNK_BYTES = 1 << 20
"""Of a chunk of an HDF5 dataset, about."""


@dataclass(frozen=True, kw_only=True)
class ClipFeatures:
    """What a network sees in one clip."""

    key: str
    label: int
    """-1 where it is unknown."""
    frames: int
    clip: np.ndarray
    """float32 [F]."""
    steps: np.ndarray
    """float32 [S, F]."""
    times: np.ndarray
    """float64 [S], in seconds from the first frame of the clip."""


class FeatureFile(ABC):
    """A file that is being written; made by `writing`.

    Args:
        path: of the finished file.

    Attributes:
        keys: of the clips so far.
        size: of a feature; 0 before the first clip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        self.size = 0
        self._labels: list[int] = []
        self._frames: list[int] = []
        self._first = [0]

    def add(self, found: ClipFeatures) -> None:
        """Append a clip.

        Raises:
            EnvironmentProblem: the disk is full.
        """
        self.size = len(found.clip)
        self.keys.append(found.key)
        self._labels.append(found.label)
        self._frames.append(found.frames)
        self._first.append(self._first[-1] + len(found.times))
        with _disk(self.path):
            self._append("clip/feature", found.clip[None])
            self._append("step/feature", found.steps)
            self._append("step/time", found.times)

    @property
    def steps(self) -> int:
        """Of all clips so far."""
        return self._first[-1]

    def _columns(self) -> dict[str, np.ndarray]:
        return {
            "clip/key": np.array(self.keys, dtype=np.str_),
            "clip/label": np.array(self._labels, dtype=np.int32),
            "clip/frames": np.array(self._frames, dtype=np.int32),
            "step/first": np.array(self._first, dtype=np.int64),
        }

    @abstractmethod
    def _append(self, name: str, rows: np.ndarray) -> None: ...

    @abstractmethod
    def finish(self, attributes: dict[str, Any]) -> None:
        """Publish what was added."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind."""


class _Deferring(io.FileIO):
    """A file whose failed writes are told by `check` alone.

    HDF5 writes until its file is closed, and takes the interpreter down at its end where the disk had no room for that.
    """

    _failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        left = memoryview(content).cast("B")
        try:
            while left and self._failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._failure = error
        return memoryview(content).nbytes

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = error
            return size or 0

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure


class _Hdf5(FeatureFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._temporary = temporary_beside(path)
        self._stream = _Deferring(self._temporary, "x+")
        self._file = h5py.File(self._stream, "w")

    def _append(self, name: str, rows: np.ndarray) -> None:
        if name not in self._file:
            row_bytes = max(rows[:1].nbytes, 1)
            chunk = (max(_CHUNK_BYTES // row_bytes, 1), *rows.shape[1:])
            shape = (0, *rows.shape[1:])
            self._file.create_dataset(name, shape, rows.dtype, chunks=chunk, maxshape=(None, *rows.shape[1:]))
        stored = self._file[name]
        stored.resize(len(stored) + len(rows), axis=0)
        stored[len(stored) - len(rows) :] = rows
        self._stream.check()

    def finish(self, attributes: dict[str, Any]) -> None:
        for name, column in self._columns().items():
            is_text = column.dtype.kind == "U"
            self._file.create_dataset(name, data=column.astype(h5py.string_dtype()) if is_text else column)
        self._file.create_dataset("attributes", data=json.dumps(attributes), dtype=h5py.string_dtype())
        self._file.close()
        self._stream.check()
        os.fsync(self._stream.fileno())
        rename_into_place(self._temporary, self.path)

    def discard(self) -> None:
        self._file.close()
        self._stream.close()
        self._temporary.unlink(missing_ok=True)


class _Npz(FeatureFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parts: dict[str, list[np.ndarray]] = {}

    def _append(self, name: str, rows: np.ndarray) -> None:
        self._parts.setdefault(name, []).append(rows)

    def finish(self, attributes: dict[str, Any]) -> None:
        arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()} | self._columns()
        buffer = io.BytesIO()
        np.savez(buffer, attributes=np.array(json.dumps(attributes)), **arrays)  # type: ignore[arg-type]
        publish(self.path, buffer.getbuffer())

    def discard(self) -> None:
        self._parts.clear()


_KINDS: dict[str, Callable[[Path], FeatureFile]] = {".h5": _Hdf5, ".hdf5": _Hdf5, ".npz": _Npz}
"""Ending of a file's name to what writes it."""


def check_name(path: Path) -> None:
    """Refuse a file whose ending says nothing.

    Raises:
        InvalidInput: quoting it.
    """
    if path.suffix not in _KINDS:
        raise InvalidInput(f"{path} should end in {', '.join(_KINDS)}, which says what to write")


@contextmanager
def writing(path: Path, attributes: dict[str, Any]) -> Iterator[FeatureFile]:
    """A file to add clips to, published as `path` when the block ends; nothing is where none was added, or on errors.

    Args:
        path: its ending says which kind of file; one of that name is replaced.
        attributes: what the numbers mean. They may still be changed inside the block.

    Raises:
        InvalidInput: an unknown ending, or `path` is a folder.
        EnvironmentProblem: the disk is full or read-only.
    """
    check_name(path)
    check_writable(path)
    with _disk(path):
        file = _KINDS[path.suffix](path)
    try:
        yield file
        if file.keys:
            with _disk(path):
                file.finish({"format": FORMAT, "version": VERSION} | attributes)
    finally:
        file.discard()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(f"cannot write {path}: {error}; free space or choose another folder") from error
