"""The bytes of a file that nobody vouches for: what it is gets told from whether this machine gives them."""

import errno
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from preprocess.errors import BadMedia, UnreadableFile

MAX_BYTES = 64 << 30
"""Of a file."""

logger = logging.getLogger(__name__)


@contextmanager
def regular_file(path: Path) -> Iterator[int]:
    """Descriptor of a file that is no link, pipe, device or folder, and neither empty nor too large.

    Raises:
        BadMedia: it is.
        UnreadableFile: it is gone, or this user or this disk cannot read it.
    """
    try:
        descriptor = _opened(path)
    except _NotRegular as error:
        what = "a link, which is not followed; put the file itself there" if path.is_symlink() else "not a regular file"
        raise BadMedia(f"{path.name}: {what}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if status.st_size == 0:
            raise BadMedia(f"{path.name}: empty file")
        if status.st_size > MAX_BYTES:
            raise BadMedia(f"{path.name}: {status.st_size} bytes, at most {MAX_BYTES} are accepted")
        yield descriptor
    finally:
        os.close(descriptor)


def warn_of_links(folder: Path, links: Sequence[Path]) -> None:
    """Say that links below a folder are not followed, if there are any."""
    if links:
        logger.warning("links are not followed, of which %s has %d, such as %s", folder, len(links), links[0])


def open_regular(path: Path) -> BinaryIO:
    """A file that is no link, pipe, device or folder, for reading.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is one of these, or cannot be read; `strerror` says so.
    """
    return os.fdopen(_opened(path), "rb")


def read_regular(path: Path, *, most: int) -> bytes:
    """All bytes of such a file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        FileNotFoundError, OSError: see `open_regular`; or it has more bytes.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        BadMedia, UnreadableFile: see `regular_file`; or the disk fails further on.
    """
    with regular_file(path) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, error) from error


class _NotRegular(OSError):
    """A link, pipe, device or folder."""


def _opened(path: Path) -> int:
    try:
        # not blocking: a pipe must not be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _NotRegular(error.errno, "it is a link or no file") from error
        raise
    if S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _NotRegular(errno.EINVAL, "it is a link or no file")


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    if error.errno == errno.ENOENT:
        return UnreadableFile(f"{path} is not there; mount its disk or get the file again, then run this again")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return UnreadableFile(f"{path} may not be read by this user; change its mode, then run this again")
    return UnreadableFile(f"{path} cannot be read ({error.strerror}); see to its disk, then run this again")
