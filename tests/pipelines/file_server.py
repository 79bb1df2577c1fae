"""A web server on this machine for one folder, that can behave badly in the ways that servers do."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Behaviour:
    """What the server does; may be changed while it runs."""

    ranges: bool = True
    """Answer a request for a part of a file with that part."""
    cut: dict[str, int] = field(default_factory=dict)
    """Name of a file to the number of times that its body still breaks off in the middle."""
    errors: dict[str, list[int]] = field(default_factory=dict)
    """Name of a file to the statuses that the next requests for it get."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Name and range of each request so far."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, folder: Path, behaviour: Behaviour) -> None:
        self._folder, self._behaviour = folder, behaviour
        super().__init__(*args)

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self._behaviour.requests.append((name, wanted))
        path = self._folder / name
        statuses = self._behaviour.errors.get(name)
        status = statuses.pop(0) if statuses else 200 if path.is_file() else 404
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if part and self._behaviour.ranges:
            first, last = int(part[1]), min(int(part[2]), len(content) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self._behaviour.cut.get(name, 0) > 0:
            self._behaviour.cut[name] -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Behaviour]]:
    """Serve a folder; gives its address and how it behaves."""
    behaviour = Behaviour()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder=folder, behaviour=behaviour))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", behaviour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
