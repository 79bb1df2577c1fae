"""What `preprocess serve` can be told."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InvalidInput

STATE_FOLDER = ".kineflow-serve"
"""Folder of the server's own files below ROOT; everything in it but jobs can be deleted at any time."""
INDEX_NAME = "index.sqlite"
SHORTEST_TOKEN = 20
"""Characters: too many to guess, even for somebody who may ask all day."""
_NAME = re.compile(r"[\w.-]+", re.ASCII)
_HOW_TO_MAKE_ONE = """python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > token && chmod 600 token"""


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """`preprocess serve`."""

    root: Path
    """Folder whose clips and shards are shown; nothing outside is ever read."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: int = 8765
    """TCP port, 1 to 65535, or 0 for a free one."""
    token: str | None = None
    """What a visitor must know; None asks for nothing."""
    index: Path | None = None
    """File of the index; None puts it into ROOT."""
    names: tuple[str, ...] = ()
    """Further host names that the pages are reached under, such as that of a proxy."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInput(f"port must be 0 to 65535, got {self.port}")
        for name in self.names:
            if not (_NAME.fullmatch(name) or is_address(name)):
                raise InvalidInput(f"{name!r} is no host name; give --name without scheme, port and path")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise InvalidInput(
                f"the token has {len(self.token)} characters, it needs {SHORTEST_TOKEN}; make one with: "
                f"{_HOW_TO_MAKE_ONE}"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise InvalidInput(f"the token holds what no header can carry; make one with: {_HOW_TO_MAKE_ONE}")
        if self.token is None and not is_loopback(self.host):
            raise InvalidInput(
                f"{self.host} can be reached from other machines, so visitors must know a token: give --token-file "
                f"FILE, made with: {_HOW_TO_MAKE_ONE}"
            )

    @property
    def state_folder(self) -> Path:
        """Of the server's own files."""
        return self.root / STATE_FOLDER

    @property
    def index_path(self) -> Path:
        """Of the index."""
        return self.index or self.state_folder / INDEX_NAME


def is_address(host: str) -> bool:
    """Whether `host` is a number, of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address `host`."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
