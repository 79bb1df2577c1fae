"""A web server on this machine for one folder, that can behave badly in the ways that servers do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.local_server import QuietHandler, running


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


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, folder: Path, behaviour: Behaviour) -> None:
        self._folder, self._behaviour = folder, behaviour
        super().__init__(*args)

    def do_GET(self) -> None:  # noqa: N802 as http.server calls it
        name, wanted = self.name, self.headers.get("Range")
        self._behaviour.requests.append((name, wanted))
        path = self._folder / name
        statuses = self._behaviour.errors.get(name)
        status = statuses.pop(0) if statuses else 200 if path.is_file() else 404
        if status != 200:
            self.send_head(status, {"Content-Length": "0"})
            return
        content, headers = path.read_bytes(), {}
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if part and self._behaviour.ranges:
            first, last = int(part[1]), min(int(part[2]), len(content) - 1)
            status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{len(content)}"
            content = content[first : last + 1]
        self.send_head(status, {**headers, "Content-Length": str(len(content))})
        if self._behaviour.cut.get(name, 0) > 0:
            self._behaviour.cut[name] -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Behaviour]]:
    """Serve a folder; gives its address and how it behaves."""
    behaviour = Behaviour()
    with running(partial(_Handler, folder=folder, behaviour=behaviour)) as address:
        yield address, behaviour
