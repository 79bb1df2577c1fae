"""One request to a server: the one place that maps what urllib3 raises and servers answer to errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from preprocess.address import names_host, shown
from preprocess.errors import Cause, InvalidInput, TemporarilyUnavailable, Unavailable
from preprocess.schedule import RetryPolicy

# tries are counted by whoever asks, who knows what was read already
_REDIRECTS_ONLY = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False)
_CAUSES = {401: Cause.FORBIDDEN, 403: Cause.FORBIDDEN, 408: Cause.TIMEOUT, 429: Cause.RATE_LIMIT}
_LONGEST_WAIT_S = 7 * 86_400.0

Response = urllib3.BaseHTTPResponse
"""With `status`, `headers` and `close()`; its body is read by `Server.read`."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a server is asked."""

    timeout_s: float = 20.0
    """Seconds without a byte, or with next to none, after which a connection is given up."""
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(tries=8, first_s=1.0, longest_s=60.0))
    """How often in a row an interrupted body is asked for again, and after which waits."""
    proxy: str | None = None
    """Address of an HTTP proxy, such as `http://user:word@host:3128`; the environment is not asked."""

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise InvalidInput(f"timeout must be above 0 s, got {self.timeout_s}")
        if self.proxy is not None and not is_remote(self.proxy):
            raise InvalidInput(
                f"proxy {self.proxy!r} does not start with http:// or https://; archives need such a one"
            )


class Server:
    """Asks for one address, over one connection at a time.

    Args:
        address: http or https; quoted here.
        connection: how to ask.

    Raises:
        InvalidInput: it names no host, or a user.
    """

    def __init__(self, address: str, connection: Connection) -> None:
        self._address = shown(address)  # in messages, which others see, no key of a signed one
        self._url = quoted(address)
        self._timeout = urllib3.Timeout(connect=connection.timeout_s, read=connection.timeout_s)
        self._pool = _pool(connection)

    def ask(self, headers: dict[str, str]) -> Response:
        """GET, redirects followed; the body, unread, is to be read by `read`.

        Returns:
            A response with a status of 200 to 299.

        Raises:
            Unavailable: HTTP 404 or 410.
            TemporarilyUnavailable: any other status, or no answer.
        """
        with self._mapped():
            response = self._pool.request(
                "GET",
                self._url,
                # a proxy or server must not zip, or unzip, what is named by bytes
                headers={"Accept-Encoding": "identity", **headers},
                preload_content=False,
                timeout=self._timeout,
                retries=_REDIRECTS_ONLY,
            )
        if response.status >= 300:
            response.close()
            self._refuse(response)
        return response

    def read(self, response: Response, size: int) -> bytes:
        """Up to `size` bytes as they are there; none at the end of the body.

        Raises:
            TemporarilyUnavailable: cut short, or no byte for `Connection.timeout_s`.
        """
        with self._mapped():
            return response.read1(size, decode_content=False)

    def close(self) -> None:
        """Hang up."""
        self._pool.clear()

    def _refuse(self, response: Response) -> NoReturn:
        status = response.status
        message = f"{self._address}: HTTP {status} {response.reason or ''}".rstrip()
        if status in {404, 410}:
            raise Unavailable(message, cause=Cause.NOT_FOUND)
        if status == 416:
            message += ": changed while it was read, and is shorter now than what was read"
        cause = Cause.SERVER_ERROR if status >= 500 else _CAUSES.get(status, Cause.UNKNOWN)
        wait_s = seconds_of_retry_after(response.headers.get("Retry-After", ""))
        raise TemporarilyUnavailable(message, cause=cause, retry_after_s=wait_s)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # of urllib.parse, or urllib3's LocationValueError
            raise TemporarilyUnavailable(
                f"{self._address}: is, or redirects to, something that is no http address: {error}", cause=Cause.UNKNOWN
            ) from error
        except HTTPError as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
            # of urllib3's exceptions, a connection that was refused counts as one that took too long
            late = isinstance(reason, HttpTimeoutError) and not isinstance(reason, NewConnectionError)
            cause = Cause.TIMEOUT if late else Cause.CONNECTION
            raise TemporarilyUnavailable(f"{self._address}: {reason}", cause=cause) from error


def is_remote(address: str) -> bool:
    """Whether it is an http or https address, not a path."""
    return address.lower().startswith(("http://", "https://"))


def quoted(address: str) -> str:
    """An http(s) address as it goes over the line: spaces and the like, which path lists hold as they are, encoded.

    Example:
        >>> quoted("https://host/600/mountain climber (exercise).tar.gz")
        'https://host/600/mountain%20climber%20(exercise).tar.gz'

    Raises:
        InvalidInput: it names no host, or a user.
    """
    if not (is_remote(address) and names_host(address)) or "@" in urlsplit(address).netloc:
        raise InvalidInput(f"address {address!r} cannot be used; give http(s)://host/path, without a user")
    start = address.index("//") + 2 + len(urlsplit(address).netloc)
    # a list's bytes that are no UTF-8 go over the line as they are
    return address[:start] + quote(address[start:], safe="%/:=&?~+!$,;'@()*[]", errors="surrogateescape")


def seconds_of_retry_after(text: str) -> float | None:
    """What a `Retry-After` header asks for: seconds, or a date; None when it is neither. Source: RFC 9110, 10.2.3.

    A week at most: a server may write any number, and no clock shows when that would be over.
    """
    if text.strip().isdecimal():
        return min(float(text), _LONGEST_WAIT_S)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    left_s = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(left_s, 0.0), _LONGEST_WAIT_S)


def _pool(connection: Connection) -> urllib3.PoolManager:
    if connection.proxy is None:
        return urllib3.PoolManager()
    user = urllib3.util.parse_url(connection.proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
    return urllib3.ProxyManager(connection.proxy, proxy_headers=headers)
