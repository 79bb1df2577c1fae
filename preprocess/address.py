"""Where something is: a local folder, or an address such as `s3://bucket/shards`."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def is_address(place: Path | str) -> bool:
    """Whether it is not a folder that the operating system knows."""
    return isinstance(place, str) and "://" in place


def without_secrets(address: str) -> str:
    """An address without a user, a password and a query, which may hold a key."""
    parts = urlsplit(address, allow_fragments=False)  # a `#` belongs to the name of a file or object
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown(place: Path | str) -> str:
    r"""A place, or the name of a file, as text for messages and files that others may read.

    A byte of a local name that is no UTF-8, which no file of text could hold, becomes `\xff`.
    """
    return without_secrets(str(place)) if is_address(place) else os.fsencode(place).decode(errors="backslashreplace")


def folder_name(place: Path | str) -> str:
    """The last part of a place, by which people call a data set."""
    return shown(place).rstrip("/").rpartition("/")[2] if is_address(place) else shown(Path(place).resolve().name)
