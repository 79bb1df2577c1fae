"""Where something is: a local folder, or an address such as `s3://bucket/shards`."""

import os
from pathlib import Path
from urllib.parse import urlsplit


def is_address(place: Path | str) -> bool:
    """Whether it is not a folder that the operating system knows."""
    return isinstance(place, str) and "://" in place


def names_host(address: str) -> bool:
    """Whether an address of a server says which one."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is no number
        return False


def without_secrets(address: str) -> str:
    """An address without a user, a password and a query, which may hold a key."""
    # not by `urlsplit`: it refuses a bracket, and takes a `#` for the end of a path
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def shown(place: Path | str) -> str:
    r"""A place, or the name of a file, as text for messages and files that others may read.

    A byte of a local name that is no UTF-8, which no file of text could hold, becomes `\xff`.
    """
    return without_secrets(str(place)) if is_address(place) else os.fsencode(place).decode(errors="backslashreplace")


def folder_name(place: Path | str) -> str:
    """The last part of a place, by which people call a data set."""
    return shown(place).rstrip("/").rpartition("/")[2] if is_address(place) else shown(Path(place).resolve().name)
