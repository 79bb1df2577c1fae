"""Where something is: a local folder, or an address such as `s3://bucket/shards`."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def is_address(place: Path | str) -> bool:
    """Whether it is not a folder that the operating system knows."""
    return isinstance(place, str) and "://" in place


def without_secrets(address: str) -> str:
    """An address without a user, a password and a query, which may hold a key."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown(place: Path | str) -> str:
    """A place for messages and files that others may read."""
    return without_secrets(str(place)) if is_address(place) else str(place)


def folder_name(place: Path | str) -> str:
    """The last part of a place, by which people call a data set."""
    return shown(place).rstrip("/").rpartition("/")[2] if is_address(place) else Path(place).resolve().name
