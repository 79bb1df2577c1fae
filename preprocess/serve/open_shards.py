"""Shards kept open between requests, a bounded number of them."""

import stat
import threading
from collections import OrderedDict
from pathlib import Path

from preprocess.errors import BadShard
from preprocess.shards import Shard

MOST_OPEN = 32
"""Shards; each is one mapping of a file, and some kB of its clip table."""

_Version = tuple[int, int, int]


class OpenShards:
    """The shards that were asked for last; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, tuple[_Version, Shard]] = OrderedDict()

    def get(self, path: Path) -> Shard:
        """The shard of a file, opened anew when the file is another one than before.

        Raises:
            BadShard: it is gone, damaged, a link, or no file.
        """
        version = _version(path)
        with self._lock:
            known = self._open.get(path)
            if known is not None and known[0] == version:
                self._open.move_to_end(path)
                return known[1]
        shard = Shard(path)
        with self._lock:
            self._open[path] = (version, shard)
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return shard


def _version(path: Path) -> _Version:
    try:
        found = path.lstat()
    except OSError as error:
        raise BadShard(f"{path.name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadShard(f"{path.name} is a link or no file, which this server does not follow")
    return found.st_ino, found.st_size, found.st_mtime_ns
