"""Shards in an object store or behind a web server, through fsspec.

A shard is needed as a file, because its bytes are mapped: whole shards are copied into a `ShardCache`. For the clip
tables alone, some blocks of each shard are read where the server can give ranges, otherwise the whole shard.
"""

import io
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, BinaryIO, TypeVar, cast

import fsspec  # type: ignore[import-untyped]
import numpy as np

from pipelines.cache import ShardCache, Wanted
from pipelines.table_cache import cached_table
from preprocess.address import names_host, without_secrets
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.object_store import network_errors
from preprocess.shards import Index, ShardInfo
from preprocess.shards.head import ShardHead, read_head
from preprocess.shards.index import INDEX_NAME
from preprocess.shards.store import SetTable, gather, map_file

logger = logging.getLogger(__name__)

TRIES = 3
"""For one shard, the first included, where the network or the server fails in a way that may pass."""

_PAUSE_S = 0.5  # before the second try; twice as long before each further one
_PIECE = 1 << 20
_BLOCK = 1 << 16  # a shard's head lies in about four of these
_STREAMED = ("http", "https")
_TIMEOUT_S = 60.0  # without a byte

T = TypeVar("T")


class RemoteStore:
    """A folder of shards at an address.

    Args:
        address: such as `s3://bucket/shards`, `https://host/shards`, `memory://shards` or `file:///mnt/shards`.
        cache: holds the copies.
        storage_options: of the fsspec file system, such as `{"anon": True}` for public S3 buckets.
        pause_s: before the second try of a transfer that failed.

    Raises:
        InvalidInput: an address that fsspec does not know, or of no host, or options that do not fit it.
        EnvironmentProblem: the package for this kind of address is not installed.
    """

    keeps_open = 1
    """Few: what is mapped cannot make room in the cache, and a copy is mapped again in no time."""

    def __init__(
        self,
        address: str,
        cache: ShardCache,
        *,
        storage_options: Mapping[str, Any] | None = None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._address = address.rstrip("/")
        self._cache = cache
        self._pause_s = pause_s
        self.name = without_secrets(self._address)
        options = dict(storage_options or {})
        protocol = address.split("://", 1)[0]
        if protocol in _STREAMED and not names_host(address):
            raise InvalidInput(f"shards at {self.name} cannot be opened; give http(s)://host/path")
        try:
            if protocol in _STREAMED:
                options = {"client_kwargs": _http_timeout()} | options
            self._files = fsspec.filesystem(protocol, **options)
        except ImportError as error:
            raise EnvironmentProblem(f"shards at {self.name}: {error}; install that package") from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"shards at {self.name} cannot be opened: {error}") from error
        self._streamed = protocol in _STREAMED

    def index(self) -> Index:
        """See `preprocess.shards.ShardStore`; read anew each time."""
        source = f"{self.name}/{INDEX_NAME}"

        def read() -> bytes:
            with _told(source):
                return cast("bytes", self._files.cat_file(f"{self._address}/{INDEX_NAME}"))

        index = Index.parse(self._tried(read), source=source)
        for info in index.shards:
            # it becomes the name of a file
            if not re.fullmatch(r"[0-9a-f]{64}", info.sha256):
                raise BadShard(f"{source} gives {info.name} the sha256 {info.sha256!r}; run `preprocess flow` again")
        return index

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        """See `preprocess.shards.ShardStore`."""

        def read() -> SetTable:
            heads = (self._head(info) for info in infos)
            return gather(infos, heads, source=self.source, skip_bad=skip_bad)

        return cached_table(self._cache, infos, read)

    def source(self, info: ShardInfo) -> str:
        """See `preprocess.shards.ShardStore`."""
        return f"{self.name}/{info.name}"

    def fetch(self, info: ShardInfo) -> None:
        """See `preprocess.shards.ShardStore`; does nothing where there is no room for it now."""
        wanted = self._wanted(info)
        if not self._cache.touch(wanted):
            file = self._cache.open(wanted, lambda: self._pieces(info), wait=False)
            if file is not None:
                file.close()

    def map(self, info: ShardInfo) -> np.ndarray:
        """See `preprocess.shards.ShardStore`."""
        with self._copy(info) as file:
            # the map goes on holding the cache's lock when the file is closed
            return map_file(file.fileno())

    def _copy(self, info: ShardInfo) -> BinaryIO:
        wanted = self._wanted(info)

        def attempt() -> BinaryIO:
            file = self._cache.open(wanted, lambda: self._pieces(info))
            assert file is not None
            return file

        return self._tried(attempt)

    def _wanted(self, info: ShardInfo) -> Wanted:
        return Wanted(source=self.source(info), sha256=info.sha256, bytes=info.bytes)

    def _pieces(self, info: ShardInfo) -> Iterator[bytes]:
        """The content of a shard from its start, in one request where the protocol can do that."""
        source, count = self.source(info), 0
        how = {"block_size": 0, "size": info.bytes} if self._streamed else {"cache_type": "readahead"}
        with _told(source):
            file = self._files.open(f"{self._address}/{info.name}", "rb", **how)
        with file:
            while True:
                with _told(source):
                    piece = file.read(_PIECE)
                if not piece:
                    break
                count += len(piece)
                yield piece
        if count < info.bytes:
            raise _MayPass(f"{source}: the transfer ended after {count} of {info.bytes} bytes")

    def _head(self, info: ShardInfo) -> ShardHead | BadShard:
        source = self.source(info)
        try:
            head = self._tried(lambda: self._head_by_ranges(info))
            if head is None:
                logger.debug("%s comes as a whole only", source)
                with self._copy(info) as file:
                    return read_head(file, file_bytes=info.bytes, source=source)
        except BadShard as error:
            return error
        return head

    def _head_by_ranges(self, info: ShardInfo) -> ShardHead | None:
        """The head from some blocks; None where the server cannot give a part of a file."""
        source = self.source(info)
        with _told(source):
            opened = self._files.open(f"{self._address}/{info.name}", "rb", cache_type="none", size=info.bytes)
        blocks = _Blocks(info.bytes)
        with opened as file:
            while True:
                try:
                    return read_head(cast("BinaryIO", blocks), file_bytes=info.bytes, source=source)
                except BadShard:
                    # HDF5 reports any failure of the file under it as damage
                    if blocks.missing is None:
                        raise
                try:
                    with _told(source):
                        blocks.add(file)
                except ValueError:
                    return None

    def _tried(self, attempt: Callable[[], T]) -> T:
        pause_s = self._pause_s
        for left in reversed(range(TRIES)):
            try:
                return attempt()
            except _MayPass as error:
                if not left:
                    raise
                logger.info("%s; trying again in %g s", error, pause_s)
                time.sleep(pause_s)
                pause_s *= 2
        raise AssertionError("unreachable")


class _MayPass(BadShard):
    """Something is wrong with the network or the server, and another try may have more luck."""


class _Blocks(io.RawIOBase):
    """Those parts of a file that are here; HDF5 reads in it until it meets one that is not.

    The parts are fetched while HDF5 is not at work: h5py holds a lock during each of its calls, which freeing any of
    its objects takes too. Garbage may be collected in the thread that does the network's work, and that thread would
    then wait for a lock that is held until it has answered.
    """

    def __init__(self, file_bytes: int) -> None:
        super().__init__()
        self._file_bytes = file_bytes
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self.missing: int | None = None
        """Number of the block that was asked for last and is not here."""

    def add(self, file: BinaryIO) -> None:
        """Copy the missing block from the whole file."""
        assert self.missing is not None
        start = self.missing * _BLOCK
        wanted = min(_BLOCK, self._file_bytes - start)
        file.seek(start)
        block = file.read(wanted)
        if len(block) != wanted:
            raise EOFError(f"bytes {start} to {start + wanted - 1}: {len(block)} came")
        self._blocks[self.missing] = block
        self.missing = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._file_bytes)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        # whole, since HDF5 does not ask again for the rest
        wanted = memoryview(buffer)[: max(self._file_bytes - self._at, 0)]
        done = 0
        while done < len(wanted):
            number, start = divmod(self._at + done, _BLOCK)
            if number not in self._blocks:
                self.missing = number
                raise OSError(f"block {number} is not here yet")
            piece = self._blocks[number][start : start + len(wanted) - done]
            wanted[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done


@contextmanager
def _told(source: str) -> Iterator[None]:
    """What a file system raises, as an error that names the shard."""
    try:
        yield
    except network_errors() as error:
        status = getattr(error, "status", None)
        if isinstance(error, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
            raise BadShard(
                f"{source} is missing; publish all shards that index.json names, and the index last"
            ) from error
        if isinstance(error, PermissionError) or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise BadShard(f"{source} may not be read ({error}); give credentials, see storage_options") from error
        raise _MayPass(f"{source} cannot be fetched: {type(error).__name__}: {error}") from error


def _http_timeout() -> dict[str, Any]:
    try:
        from aiohttp import ClientTimeout
    except ImportError as error:
        raise EnvironmentProblem(
            f"shards behind a web server need aiohttp ({error}); pip install 'kineflow[remote]'"
        ) from error
    # no limit on the whole: a shard of 512 MB may take its time as long as bytes come
    return {"timeout": ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)}
