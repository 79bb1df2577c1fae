"""A folder that holds copies of shards from elsewhere, never more than a stated number of bytes.

A copy has the sha256 of its content as its name, so that data sets may share a folder and a copy cannot be stale. It is
published whole: temporary file, fsync, rename. Processes share the folder with file locks that end with their holder:

    .lock          held while room is made and names are given
    SHA256.part    a download; locked by the one who writes it, so one without a lock was left by a killed process
    SHA256.h5      a copy; a reader locks it as long as it is mapped, and one that is locked is not removed
    SHA256.npz     the clip tables of a data set, by the hash of what its index says

To make room, files that nobody has locked go, those first that were used the longest ago.
"""

import errno
import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.paths import make_folder, rename_into_place

logger = logging.getLogger(__name__)

CACHE_BYTES = 100 << 30

_LOCK, _COPY, _PART, _TABLE = ".lock", ".h5", ".part", ".npz"
_OWN_NAME = re.compile(rf"[0-9a-f]{{64}}({_COPY}|{_PART}|{_TABLE})")
_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Content to have in the cache."""

    source: str
    """Where it comes from, for messages."""
    sha256: str
    """64 hexadecimal digits."""
    bytes: int


class ShardCache:
    """Copies in one folder.

    Args:
        folder: on a local disk; made if need be.
        max_bytes: of all files in it together, downloads under way included.
        wait_s: how long to wait for room when everything in it is in use, before giving up.

    Raises:
        InvalidInput: no room at all.
        EnvironmentProblem: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, max_bytes: int = CACHE_BYTES, wait_s: float = 30.0) -> None:
        if max_bytes < 1:
            raise InvalidInput(f"cache_bytes is {max_bytes}; it must be at least 1, better that of some 20 shards")
        self.folder = folder
        self.max_bytes = max_bytes
        self._wait_s = wait_s
        make_folder(folder)

    def open(self, wanted: Wanted, download: Callable[[], Iterable[bytes]], *, wait: bool = True) -> BinaryIO | None:
        """A copy, locked against removal until the file and all maps of it are closed.

        Args:
            wanted: what the copy holds.
            download: begins to fetch it; called if it is not there.
            wait: for room; otherwise None comes back where there is none.

        Raises:
            BadShard: what was fetched is not what was wanted.
            InvalidInput: larger than the whole cache.
            EnvironmentProblem: the disk is full, or no room within `wait_s`.
        """
        if wanted.bytes > self.max_bytes:
            raise InvalidInput(
                f"{wanted.source} has {wanted.bytes} bytes, cache_bytes is {self.max_bytes}; give it at least a shard "
                f"for each clip of three batches"
            )
        path = self.folder / f"{wanted.sha256}{_COPY}"
        deadline = time.monotonic() + self._wait_s
        try:
            while True:
                if (copy := _locked(path, size=wanted.bytes)) is not None:
                    return copy
                part, room = self._reserve(path, wanted)
                if part is not None:
                    with part:
                        self._fill(part, wanted, download())
                        # under the lock: who adds up sizes must not see it under neither name
                        with self._lock():
                            rename_into_place(path.with_suffix(_PART), path)
                elif not room:
                    if not wait:
                        return None
                    if time.monotonic() > deadline:
                        raise EnvironmentProblem(
                            f"no room for {wanted.source} of {wanted.bytes} bytes: all of the {self.max_bytes} bytes "
                            f"of {self.folder} are in use; give more cache_bytes, or use a smaller batch_size"
                        )
                    time.sleep(_POLL_S)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot keep {wanted.source} in {self.folder}: {error.strerror or error}; free space or choose "
                f"another cache"
            ) from error

    def touch(self, wanted: Wanted) -> bool:
        """Whether a copy is there at the moment; it counts as just used then, so that others go before it."""
        path = self.folder / f"{wanted.sha256}{_COPY}"
        with suppress(OSError):  # such as that of a copy of another user's
            os.utime(path)
        return path.is_file()

    def table(self, sha256: str) -> bytes | None:
        """A clip table that was put there, or None."""
        path = self.folder / f"{sha256}{_TABLE}"
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            os.utime(path)
            return content
        return None

    def put_table(self, sha256: str, content: bytes) -> None:
        """Keep a clip table, if there is room."""
        if len(content) > self.max_bytes:
            return  # nothing else would be left, and it would not be there either
        path = self.folder / f"{sha256}{_TABLE}"
        with self._lock():
            if not self._make_room(len(content)):
                return
            with path.with_suffix(_PART).open("xb") as part:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
            rename_into_place(path.with_suffix(_PART), path)

    def _reserve(self, path: Path, wanted: Wanted) -> tuple[BinaryIO | None, bool]:
        """A locked, empty `.part` of the full size, or None where another has it or there is no room.

        Returns:
            The file, and whether there was room.
        """
        part_path = path.with_suffix(_PART)
        with self._lock():
            if path.exists():
                return None, True
            other = _try_open(part_path)
            if other is None:
                if not self._make_room(wanted.bytes):
                    return None, False
                part = part_path.open("xb+")
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # the size counts from now on, though the bytes are yet to come
                part.truncate(wanted.bytes)
                return part, True
        with other:
            # granted when the other one is done, or was killed
            fcntl.flock(other, fcntl.LOCK_SH)
            with self._lock(), suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(other.fileno()), part_path.stat()):
                    part_path.unlink()
        return None, True

    def _fill(self, part: BinaryIO, wanted: Wanted, content: Iterable[bytes]) -> None:
        digest, count = hashlib.sha256(), 0
        try:
            for piece in content:
                count += len(piece)
                if count > wanted.bytes:
                    break
                digest.update(piece)
                part.write(piece)
            if count != wanted.bytes:
                more = "more than " if count > wanted.bytes else ""
                raise BadShard(
                    f"{wanted.source}: {more}{min(count, wanted.bytes)} bytes came, the index says {wanted.bytes}; it "
                    f"changed, or the transfer broke off"
                )
            if digest.hexdigest() != wanted.sha256:
                raise BadShard(
                    f"{wanted.source} has sha256 {digest.hexdigest()}, the index says {wanted.sha256}; it changed "
                    f"after the index was written: publish both again"
                )
            part.flush()
            os.fsync(part.fileno())
        except BaseException:
            # before the lock goes, so that nobody takes it for a download under way
            with suppress(OSError):
                (self.folder / f"{wanted.sha256}{_PART}").unlink()
            raise

    def _make_room(self, needed: int) -> bool:
        """Remove what nobody uses, the longest unused first, until `needed` bytes fit. Under `_lock` only."""
        files: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            # nothing but its own files: somebody may give a folder with other things in it
            if _OWN_NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    # what a killed process left goes before any copy
                    files.append((0.0 if path.suffix == _PART else stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total + needed <= self.max_bytes and path.suffix != _PART:
                break
            if _removed(path):
                total -= size
        return total + needed <= self.max_bytes

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.folder / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _locked(path: Path, *, size: int) -> BinaryIO | None:
    """A finished copy with a reader's lock, marked as just used; None if it is not there."""
    file = _try_open(path)
    if file is None:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    stat = os.fstat(file.fileno())
    if stat.st_nlink == 0:  # removed between open and lock
        file.close()
        return None
    if stat.st_size != size:
        file.close()
        raise OSError(errno.EIO, f"{path} has {stat.st_size} bytes instead of {size}; delete it")
    os.utime(file.fileno())
    return file


def _removed(path: Path) -> bool:
    """Remove a file unless somebody holds a lock on it."""
    file = _try_open(path)
    if file is None:
        return True
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        logger.debug("removed %s from the cache", path)
        return True


def _try_open(path: Path) -> BinaryIO | None:
    try:
        # for writing too: some file systems give an exclusive lock to writers only
        return path.open("rb+")
    except FileNotFoundError:
        return None
