"""Tar archives, read while they come in and never stored: member by member, whatever their name says they are.

Of the published Kinetics archives, some called `.tar.gz` are plain tars, one was empty, and one is full of the `._*`
files that macOS adds. Member names are told, never followed: nothing is extracted here.
"""

import gzip
import io
import logging
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn, cast

from preprocess.address import shown
from preprocess.errors import BadMedia, Cause
from preprocess.sources.http import Connection
from preprocess.sources.remote import Version, open_address

MAX_MEMBER_BYTES = 2 << 30
"""A larger member is skipped: ten seconds of video are some megabytes."""
MAX_RATIO = 100
"""Bytes that one compressed byte may become, after the first `_RATIO_FROM_BYTES`; video hardly shrinks at all."""

_RATIO_FROM_BYTES = 64 << 20
_READ_BYTES = 1 << 20
"""At most so many at once; a header that asks for more is damaged, or means harm."""
_GZIP = b"\x1f\x8b"
_TOO_LARGE = "larger than 2 GiB"
_NESTED = "an archive itself"
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_WEB_PAGE = (b"<", b"\xef\xbb\xbf<")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A regular file in an archive."""

    name: str
    """As the archive has it: may be absolute, or lead anywhere."""
    size: int
    """Bytes."""
    file: io.BufferedIOBase
    """Its content, until the next member is asked for."""


@contextmanager
def open_archive(address: str, *, connection: Connection = Connection()) -> Iterator["ArchiveReader"]:
    """Open a tar archive, gzipped or not, at an http(s) address or a path.

    Raises:
        Unavailable, TemporarilyUnavailable, InvalidInput: see `preprocess.sources.remote.open_address`.
    """
    with open_address(address, connection=connection) as (file, version):
        yield ArchiveReader(shown(address), file, version=version)


class ArchiveReader:
    """Made by `open_archive`.

    Args:
        address: for messages.
        file: the archive from its start.
        version: of its content.
    """

    def __init__(self, address: str, file: io.BufferedIOBase, *, version: Version) -> None:
        self.address = address
        self.version = version
        self.skipped: Counter[str] = Counter()
        """What was passed over, by kind."""
        self._file = file

    def members(self) -> Iterator[Member]:
        """Its regular files in order, once; an archive that turns out damaged gives what comes before the damage.

        Raises:
            BadMedia: no tar archive, empty, damaged or cut short; says where.
            TemporarilyUnavailable: the connection was lost for good.
        """
        head = self._file.read(tarfile.BLOCKSIZE)
        tape = _Tape(self.address, head, self._file)
        count = 0
        try:
            # a name that is not UTF-8 is a name all the same
            with tarfile.TarFile(fileobj=cast(IO[bytes], tape), encoding="utf-8", errors="surrogateescape") as tar:
                while (info := tar.next()) is not None:
                    cast(Any, tar).members.clear()  # which would grow with the archive
                    count += 1
                    kind = _why_skipped(info)
                    if kind is None:
                        content = io.BufferedReader(_MemberFile(tape, info.size), _READ_BYTES)
                        yield Member(name=info.name, size=info.size, file=content)
                        continue
                    self.skipped[kind] += 1
                    level = logging.WARNING if kind in {_TOO_LARGE, _NESTED} else logging.DEBUG
                    logger.log(level, "%s: skipped %r, %s", self.address, info.name, kind)
        except (tarfile.TarError, ValueError, IndexError, OverflowError, RecursionError) as error:
            if count == 0:
                raise BadMedia(f"{self.address} {_what_it_is(head, error)}", cause=Cause.NOT_VIDEO) from error
            tape.damaged(f"damaged after {count} members: {error}")
        if not tape.ended_well:
            tape.damaged(f"ends after {count} members without the mark of an archive's end")
        tape.run_out()
        if count == 0:
            raise BadMedia(f"{self.address} is an archive without members", cause=Cause.DAMAGED)


class _Tape:
    """What `tarfile` reads from: forward only, unzipped where need be, with errors of ours."""

    def __init__(self, address: str, head: bytes, file: io.BufferedIOBase) -> None:
        self._address = address
        self._raw = _Rejoined(head, file)
        self._zipped = head.startswith(_GZIP)
        joined = io.BufferedReader(self._raw, _READ_BYTES)
        self._file: io.BufferedIOBase = gzip.GzipFile(fileobj=joined) if self._zipped else joined
        self._position = 0
        self._last = b""

    @property
    def ended_well(self) -> bool:
        """Whether the block read last is the empty one that ends an archive."""
        return len(self._last) == tarfile.BLOCKSIZE and not any(self._last)

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while position > self._position and self.read(min(position - self._position, _READ_BYTES)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _READ_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        try:
            data = self._file.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.damaged(f"gzip damaged: {error}")
        self._last = data
        self._position += len(data)
        if self._zipped and self._position > max(MAX_RATIO * self._raw.count, _RATIO_FROM_BYTES):
            self.damaged(f"{self._raw.count} bytes unpack to more than {MAX_RATIO} times as many")
        return data

    def run_out(self) -> None:
        """Read what follows the archive's end: padding, and the checksum that tells whether gzip was whole."""
        after = 0
        while data := self.read(_READ_BYTES):
            after += len(data) if any(data) else 0
        if after:
            logger.warning("%s: about %d bytes after the archive's end were left out", self._address, after)

    def damaged(self, what: str) -> NoReturn:
        """Raise an error that names the place."""
        raise BadMedia(f"{self._address}, byte {self._position} of the tar: {what}", cause=Cause.DAMAGED)


class _Rejoined(io.RawIOBase):
    """A file whose first bytes were looked at, from its start again; counts what it gives."""

    def __init__(self, head: bytes, file: io.BufferedIOBase) -> None:
        super().__init__()
        self.count = 0
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._head[: len(buffer)] or self._file.read1(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _MemberFile(io.RawIOBase):
    """The content of one member."""

    def __init__(self, tape: _Tape, size: int) -> None:
        super().__init__()
        self._tape = tape
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._tape.read(min(len(buffer), self._left, _READ_BYTES))
        if self._left > 0 and not data:
            self._tape.damaged(f"ends {self._left} bytes before its member does")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _why_skipped(info: tarfile.TarInfo) -> str | None:
    if PurePosixPath(info.name).name.startswith("._"):
        return "AppleDouble"
    if info.isdir():
        return "folder"
    if info.issym() or info.islnk():
        return "link"
    if info.issparse() or not info.isreg() or info.size < 0:
        return "special file"
    if info.name.lower().endswith(_ARCHIVES):
        return _NESTED
    return _TOO_LARGE if info.size > MAX_MEMBER_BYTES else None


def _what_it_is(head: bytes, error: Exception) -> str:
    if not head:
        return "is empty"
    if head.lstrip().startswith(_WEB_PAGE):
        return f"is a web page, not an archive: {head[:60]!r}"
    return f"is no tar archive, gzipped or not ({error}); it begins with {head[:16]!r}"
