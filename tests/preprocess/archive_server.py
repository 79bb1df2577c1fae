"""Tar archives made on the spot, and a local server that sends them as well, or as badly, as a test asks."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.local_server import QuietHandler, running


def pack(path: Path, members: Mapping[str, bytes], *, mode: str = "w", links: Mapping[str, str] = {}) -> Path:
    """A tar archive of name to content, and of symbolic links; `w:gz` zips it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Hang up after so many bytes of the file, counted from its start."""
    drip_s: float | None = None
    """Seconds between two bytes."""
    silent: bool = False
    content: bytes | None = None
    """From now on the file holds this."""


@dataclass
class ArchiveServer:
    """Serves a folder with byte ranges and ETags. `faults` has for a file what goes wrong with its next requests."""

    folder: Path
    url: str = ""
    ranges: bool = True
    tags: str = '"{}"'
    """How an ETag is written; empty for none."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Raw path and headers of each."""

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


def _handler(server: ArchiveServer) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 as http.server calls it
            server.requests.append((self.path, dict(self.headers)))
            waiting = server.faults.get(self.name) or server.faults.get("*") or []
            fault = waiting.pop(0) if waiting else Fault()
            path = server.folder / self.name.replace("%20", " ")
            if fault.content is not None:
                path.write_bytes(fault.content)
            with suppress(BrokenPipeError, ConnectionResetError):
                if fault.silent:
                    self.server.closing.wait()
                elif fault.status is not None or not path.is_file():
                    self.send_head(fault.status or 404, {"Content-Length": "0", **fault.headers})
                else:
                    self._send(path.read_bytes(), fault)

        def _send(self, content: bytes, fault: Fault) -> None:
            tag = server.tags.format(hashlib.sha256(content).hexdigest()[:16])
            asked = re.match(r"bytes=(\d+)-\Z", self.headers.get("Range") or "")
            start = int(asked[1]) if asked and server.ranges and self.headers.get("If-Range", tag) == tag else 0
            if start >= len(content) > 0:
                self.send_head(416, {})
                return
            headers = {"Content-Length": str(len(content) - start)}
            headers |= {"ETag": tag} if tag else {}
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            self.send_head(206 if start else 200, {**headers, **fault.headers})
            self.send_body(content[start : fault.cut], drip_s=fault.drip_s)

    return Handler


@contextmanager
def serving_archives(folder: Path) -> Iterator[ArchiveServer]:
    """A server on 127.0.0.1 until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ArchiveServer(folder)
    with running(_handler(server)) as server.url:
        yield server
