"""The bytes behind an address or path, in order and once, over as many connections as that takes."""

import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from preprocess.address import shown
from preprocess.errors import Cause, TemporarilyUnavailable, Unavailable
from preprocess.sources.http import Connection, Response, Server, is_remote

MIN_BYTES_S = 1024
"""Bytes a second, over `Connection.timeout_s` of waiting; a server that sends less counts as hanging."""
PROGRESS_BYTES = 1 << 20
"""A connection that brought so many bytes on has earned all tries anew."""

_BUFFER_BYTES = 256 << 10
_COUNT = "[0-9]{1,18}"  # of bytes; a server may send thousands of digits, which make no number
_RANGE = rf"bytes ({_COUNT})-{_COUNT}/({_COUNT}|\*)"
_PASSING = {Cause.CONNECTION, Cause.TIMEOUT, Cause.SERVER_ERROR, Cause.RATE_LIMIT}


@dataclass(frozen=True, kw_only=True)
class Version:
    """Which content an address had: equal for two reads of the same bytes."""

    tag: str
    """ETag, or else Last-Modified; of a file on disk the time of its last change; empty when the server gives none."""
    length: int | None
    """Bytes; None when the server does not say."""

    @property
    def is_known(self) -> bool:
        """Whether equal versions mean equal bytes."""
        return self.tag != ""


@contextmanager
def open_address(address: str, *, connection: Connection = Connection()) -> Iterator[tuple[io.BufferedIOBase, Version]]:
    """Open what is at an http(s) address or a path, for reading from its start to its end.

    An interrupted connection is taken up at the byte reached, as long as the server says by ETag or Last-Modified that
    the content is still the same; reading never gives a mix of two contents, nor a part for the whole.

    Raises:
        Unavailable: HTTP 404 or 410, or no such file.
        TemporarilyUnavailable: refused, cut short, changed meanwhile or too slow; also raised while reading.
        InvalidInput: an address with a user or password.
    """
    raw = _HttpFile(address, connection) if is_remote(address) else _LocalFile(address)
    with io.BufferedReader(raw, _BUFFER_BYTES) as file:
        yield file, raw.version


class _LocalFile(io.FileIO):
    """A file on disk whose errors are ours: one unreadable archive is not a full disk."""

    def __init__(self, path: str) -> None:
        try:
            if not Path(path).is_file():
                raise Unavailable(f"{path} does not exist or is not a file", cause=Cause.NOT_FOUND)
            super().__init__(path)
            status = Path(path).stat()
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}", cause=Cause.NOT_FOUND) from error
        self.version = Version(tag=f"changed {status.st_mtime_ns}", length=status.st_size)

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise TemporarilyUnavailable(
                f"cannot read on in {self.name!r}: {error.strerror}", cause=Cause.CONNECTION
            ) from error


class _HttpFile(io.RawIOBase):
    """A body over one or several connections."""

    def __init__(self, address: str, connection: Connection) -> None:
        super().__init__()
        self._address = shown(address)
        self._retries = connection.retries
        self._pace = _Pace(connection.timeout_s)
        self._position = 0
        self._failures = 0
        self._failed_at = 0
        self._server = Server(address, connection)
        self._response = self._server.ask({})
        if self._response.status != 200:
            self._response.close()
            self._fail(f"answers with HTTP {self._response.status}, expected 200", Cause.UNKNOWN)
        self.version = _version_of(self._response)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and hasattr(self, "_response"):
            self._response.close()
            self._server.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        while True:
            try:
                data = self._read(len(buffer))
                break
            except TemporarilyUnavailable as error:
                self._resume(error)
        buffer[: len(data)] = data
        self._position += len(data)
        if self._position - self._failed_at > PROGRESS_BYTES:
            self._failures = 0
        return len(data)

    def _read(self, size: int) -> bytes:
        """Some bytes of the present connection; none at the body's end only."""
        began = time.monotonic()
        data = self._server.read(self._response, size)
        if self._pace.is_too_slow(len(data), time.monotonic() - began):
            self._fail(f"sends less than {MIN_BYTES_S} bytes a second", Cause.TIMEOUT)
        if not data and self.version.length is not None and self._position < self.version.length:
            self._fail("ends the body too early", Cause.CONNECTION)
        return data

    def _resume(self, error: TemporarilyUnavailable) -> None:
        """A new connection that goes on where the last one ended, or `error` when there is none to be had."""
        while True:
            self._response.close()
            self._failures, self._failed_at = self._failures + 1, self._position
            policy, asked_s = self._retries, error.retry_after_s
            enough = self._failures >= policy.tries or (asked_s or 0.0) > policy.longest_s
            if enough or error.cause not in _PASSING or not self.version.is_known:
                raise TemporarilyUnavailable(
                    f"{error} (after {self._position} bytes)", cause=error.cause, retry_after_s=asked_s
                ) from error
            time.sleep(policy.wait_s(self._failures, retry_after_s=asked_s))
            try:
                self._response = self._server.ask(self._asked_for())
                self._check_and_align()
                return
            except TemporarilyUnavailable as again:
                error = again

    def _asked_for(self) -> dict[str, str]:
        if self._position == 0:
            return {}
        # weak tags must not stand in If-Range, RFC 9110 13.1.5
        condition = {} if self.version.tag.startswith("W/") else {"If-Range": self.version.tag}
        return {"Range": f"bytes={self._position}-", **condition}

    def _check_and_align(self) -> None:
        """Be sure that it is the same content, and stand at the byte reached."""
        response, found = self._response, _version_of(self._response)
        if response.status == 206:
            sent = re.fullmatch(_RANGE, response.headers.get("Content-Range", ""))
            if sent is not None and found.tag == self.version.tag and sent[2] in {"*", str(self.version.length)}:
                if int(sent[1]) != self._position:
                    self._fail(f"sends bytes from {sent[1]} when asked from {self._position}", Cause.UNKNOWN)
                return
        elif response.status == 200 and found == self.version:
            self._skip(self._position)  # it knows no ranges
            return
        # no cause that is tried again: whoever opens it anew reads all of the new content
        self._fail(f"changed while it was read: {self.version} became {found}", Cause.UNKNOWN)

    def _skip(self, count: int) -> None:
        while count > 0:
            data = self._server.read(self._response, min(count, _BUFFER_BYTES))
            if not data:
                self._fail("ends the body too early", Cause.CONNECTION)
            count -= len(data)

    def _fail(self, what: str, cause: Cause) -> NoReturn:
        raise TemporarilyUnavailable(f"{self._address}: {what}", cause=cause)


class _Pace:
    """How fast bytes come while they are waited for; what the reader does in between does not count."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._waited_s = 0.0
        self._received = 0

    def is_too_slow(self, received: int, waited_s: float) -> bool:
        """Whether the window that this read ends, if it ends one, brought less than `MIN_BYTES_S`."""
        self._received += received
        self._waited_s += waited_s
        if self._waited_s < self._window_s:
            return False
        slow = self._received < MIN_BYTES_S * self._waited_s
        self._waited_s, self._received = 0.0, 0
        return slow


def _version_of(response: Response) -> Version:
    length = response.headers.get("Content-Length", "")
    return Version(
        tag=response.headers.get("ETag") or response.headers.get("Last-Modified") or "",
        length=int(length) if re.fullmatch(_COUNT, length) else None,
    )
