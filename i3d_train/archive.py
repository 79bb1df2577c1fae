"""Zip archives of arrays, from anybody: what is wrong with them, before and while they are read."""

import struct
import zipfile
import zlib
from pathlib import Path

MALFORMED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What PyTorch, numpy and zipfile raise on bytes that are not what their beginning promises."""


def archive_fault(path: Path) -> str | None:
    """Why the archive of a PyTorch file is not to be loaded, as a verb and its object; None if it may be.

    Raises:
        any of `MALFORMED`: it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # PyTorch stores plainly: what is packed, or overlaps, could unpack to any size
        if packed := [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            return f"holds packed entries such as {packed[0]!r:.80}, which PyTorch does not write"
        declared, size = sum(entry.file_size for entry in entries), path.stat().st_size
        if declared > size:
            return f"declares {declared} bytes and has {size}"
        # PyTorch is built without the check of the archive's CRCs: a flipped bit would load
        damaged = archive.testzip()
    return None if damaged is None else f"is damaged in {damaged!r:.80}"
