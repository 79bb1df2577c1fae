"""Files below an address, through fsspec: in an object store, or on any file system that it knows.

A file appears under its name whole or not at all. Where a transfer itself does not see to that, it goes to a temporary
name below `UNFINISHED` and is moved.
"""

import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from preprocess.address import names_host, without_secrets
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import UNFINISHED

TRIES = 4
"""For one transfer, the first included, where the network or the server fails in a way that may pass."""
_PAUSE_S = 0.5  # before the second try; twice as long before each further one
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
"""Protocols of stores that show an object once all of it is there."""
_READ_ONLY = {"http", "https"}
"""Protocols whose file systems send a file all the same, to a server that will not have it."""

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectStore:
    """A folder at an address; small, so that it can be sent to workers."""

    address: str
    """Such as `s3://bucket/clips`. Credentials are those of the environment, as the package for the protocol reads
    them."""

    @property
    def name(self) -> str:
        """For messages and files that others may read."""
        return without_secrets(self.address.rstrip("/"))

    def check(self, *, writes: bool = False) -> None:
        """That there is a package for this kind of address.

        Args:
            writes: whether files will be put there.

        Raises:
            InvalidInput: an address that fsspec does not know, of no host, bucket or folder, that is only read, or that
                means several folders.
            EnvironmentProblem: fsspec, or the package that it needs for this address, is not installed; or no server
                answers.
        """
        protocol, _, place = self.address.partition("://")
        if not (protocol and place.strip("/")):  # as of `s3://$BUCKET` without BUCKET
            raise InvalidInput(f"{self.address!r} names no bucket or folder; give an address such as s3://bucket/clips")
        if writes and protocol in _READ_ONLY:
            raise InvalidInput(
                f"{self.name} is read-only, as every address of this kind; write to a folder, or to a store such as "
                "s3://bucket/clips"
            )
        if protocol in _READ_ONLY and not names_host(self.address):
            raise InvalidInput(f"{self.name} cannot be opened; give http(s)://host/path")
        _, root = self._open()
        if writes and re.search(r"[*?[]", root):  # fsspec deletes and moves all that fits it
            raise InvalidInput(
                f"{self.name} has one of * ? [, by which a store may mean several folders; write to another one"
            )

    def put(self, path: Path, name: str) -> None:
        """Upload a file; under `name` is what was there before, or all of it.

        Raises:
            EnvironmentProblem: it may not be written, or the transfer fails.
        """
        size = path.stat().st_size
        is_whole = self._protocol in _WHOLE
        temporary = f"{UNFINISHED}/{secrets.token_hex(8)}"

        def upload(files: Any, root: str) -> None:
            final = f"{root}/{name}"
            first = final if is_whole else f"{root}/{temporary}"
            for place in () if is_whole else (first, final):  # an object store has no folders, and would make a bucket
                files.makedirs(place.rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), first)
            if (came := _size(files, first)) != size:
                raise EOFError(f"{came} of {size} bytes are there")
            if not is_whole:
                files.mv(first, final)

        self._tried(upload, name, "written")

    def get(self, name: str, path: Path) -> bool:
        """Download a file; whether there is one.

        Raises:
            EnvironmentProblem: it may not be read, or the transfer fails.
        """

        def download(files: Any, root: str) -> bool:
            try:
                files.get_file(f"{root}/{name}", str(path))
            except FileNotFoundError:
                path.unlink(missing_ok=True)
                return False
            return True

        return self._tried(download, name, "read")

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        return self._tried(lambda files, root: _size(files, f"{root}/{name}"), name, "read")

    def sizes(self) -> dict[str, int]:
        """Name to bytes, of the files directly below the address."""

        def look(files: Any, root: str) -> dict[str, int]:
            try:
                found = files.ls(root, detail=True)
            except FileNotFoundError:
                return {}
            return {one["name"].rpartition("/")[2]: one["size"] for one in found if one["type"] == "file"}

        return self._tried(look, "", "listed")

    def all_sizes(self) -> dict[str, int]:
        """Path below the address to bytes, of all files there; a store is asked once for a thousand of them."""

        def look(files: Any, root: str) -> dict[str, int]:
            found = files.find(root, detail=True)
            return {place.removeprefix(root).lstrip("/"): one["size"] for place, one in found.items()}

        return self._tried(look, "", "listed")

    def state(self, name: str) -> str | None:
        """What changes when the file does; None where there is none."""

        def look(files: Any, root: str) -> str | None:
            place = f"{root}/{name}"
            # some file systems have a key for what is not there
            if _size(files, place) is None:
                return None
            try:
                return str(files.ukey(place))
            except FileNotFoundError:
                return None

        return self._tried(look, name, "read")

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

        def delete(files: Any, root: str) -> None:
            with suppress(FileNotFoundError):
                files.rm_file(f"{root}/{name}")

        self._tried(delete, name, "deleted")

    def sweep(self) -> None:
        """Delete what killed transfers left; only while no other run writes there."""

        def delete(files: Any, root: str) -> None:
            with suppress(FileNotFoundError):
                files.rm(f"{root}/{UNFINISHED}", recursive=True)

        self._tried(delete, UNFINISHED, "deleted")

    @property
    def _protocol(self) -> str:
        return self.address.partition("://")[0]

    def _open(self) -> tuple[Any, str]:
        """The file system, and the path of this folder in it."""
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]
        except ImportError as error:
            raise EnvironmentProblem(f"{self.name} needs fsspec ({error}); pip install 'kineflow[remote]'") from error
        try:
            files, root = url_to_fs(self.address)
        except ImportError as error:
            raise EnvironmentProblem(f"{self.name}: {error}; install that package on all nodes") from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{self.name} cannot be opened: {error}") from error
        except network_errors() as error:  # some connect at once
            raise EnvironmentProblem(f"{self.name} cannot be opened: {error!r}") from error
        return files, str(root).rstrip("/")

    def _tried(self, attempt: Callable[[Any, str], Value], name: str, verb: str) -> Value:
        """What `attempt` gives, called with the file system and the path of this folder in it."""
        files, root = self._open()
        pause_s = _PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                with self._told(name, verb):
                    files.invalidate_cache()
                    return attempt(files, root)
            except _MayPass as error:
                if not left:
                    raise EnvironmentProblem(
                        f"{error} in {TRIES} tries; what is done stays done, run the command again"
                    ) from error.__cause__
                logger.info("%s; trying again in %g s", error, pause_s)
                time.sleep(pause_s)
                pause_s *= 2
        raise AssertionError("unreachable")

    @contextmanager
    def _told(self, name: str, verb: str) -> Iterator[None]:
        """What a file system raises, as an error that names the file."""
        place = f"{self.name}/{name}".rstrip("/")
        try:
            yield
        except NotImplementedError as error:
            raise InvalidInput(f"{place} cannot be {verb}: addresses of this kind do not allow it") from error
        except PermissionError as error:
            raise EnvironmentProblem(f"{place} may not be {verb} ({error}); give credentials to all nodes") from error
        except FileNotFoundError as error:
            raise EnvironmentProblem(f"{place} cannot be {verb}: {error}; make the bucket or folder first") from error
        except network_errors() as error:
            raise _MayPass(f"{place} cannot be {verb}: {error!r}") from error


def _size(files: Any, place: str) -> int | None:
    files.invalidate_cache()
    try:
        return int(files.info(place)["size"])
    except FileNotFoundError:
        return None


class _MayPass(Exception):
    """Another try may have more luck."""


def network_errors() -> tuple[type[Exception], ...]:
    """What file systems raise when something is wrong with the network or the server, of libraries that are loaded."""
    names = (
        ("aiohttp", "ClientError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("gcsfs.retry", "HttpError"),
        ("azure.core.exceptions", "AzureError"),
        ("ftplib", "Error"),
    )
    found = [getattr(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (OSError, EOFError, *found)
