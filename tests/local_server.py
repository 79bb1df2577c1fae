"""What the local servers of the tests have in common."""

import http.server
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class LocalServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.closing = threading.Event()
        """Ends what a handler waits for."""


class QuietHandler(http.server.BaseHTTPRequestHandler):
    server: LocalServer

    def log_message(self, *_: object) -> None:
        pass

    @property
    def name(self) -> str:
        """Of the file that is asked for; a proxy gets the whole address."""
        return re.sub(r"^https?://[^/]+", "", self.path).removeprefix("/")

    def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()

    def send_body(self, content: bytes, *, drip_s: float | None) -> None:
        """All at once, or with so many seconds between two bytes."""
        if drip_s is None:
            self.wfile.write(content)
            return
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.closing.wait(drip_s):
                return


@contextmanager
def running(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on 127.0.0.1, until the block ends."""
    with LocalServer(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
