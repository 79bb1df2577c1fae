"""The wanted clips by key or id, in a file that all workers of a machine map into memory once.

650,000 clips in a dict are 200 MB a process, and 40 MB to send with each task; the file is 40 MB for all.
"""

import mmap
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.clip_names import ClipName
from preprocess.paths import publish

_KEY_LENGTH = 25
_PENDING = b"pending"
_SETTLED = b"settled"


class WantedIndex:
    """Made by `open_wanted_index`; lines sorted by key, found by bisection.

    Args:
        lines: of `write_wanted_index`.
    """

    def __init__(self, lines: bytes | mmap.mmap) -> None:
        self._lines = lines

    def find(self, name: ClipName) -> tuple[Clip, bool] | None:
        """The clip that a file is named for, and whether it is still to be had.

        A name with seconds is matched by them. An id alone is matched only when one single clip of the list is of
        that video: with two, nobody could say which of them the file is.
        """
        prefix = (name.text if name.seconds else f"{name.youtube_id}_").encode()
        offset = self._first_from(prefix)
        line = self._line_at(offset)
        if not line.startswith(prefix):
            return None
        if name.seconds is None and self._line_at(offset + len(line)).startswith(prefix):
            return None
        return _parsed(line)

    def _first_from(self, prefix: bytes) -> int:
        """Offset of the first line that does not sort before `prefix`."""
        low, high = 0, len(self._lines)
        while low < high:
            middle = max(self._lines.rfind(b"\n", low, (low + high) // 2) + 1, low)
            if self._lines[middle : middle + len(prefix)] < prefix:
                low = self._lines.find(b"\n", middle) + 1
            else:
                high = middle
        return low

    def _line_at(self, offset: int) -> bytes:
        return self._lines[offset : self._lines.find(b"\n", offset) + 1]


def write_wanted_index(path: Path, clips: Iterable[Clip], *, pending: Collection[str]) -> None:
    """Publish the index of `clips`; those whose key is in `pending` are still to be had.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    lines = [
        b"\t".join(
            [
                clip.key.encode(),
                _PENDING if clip.key in pending else _SETTLED,
                clip.split.encode(),
                str(clip.line).encode(),
                (clip.label or "").encode(),
            ]
        )
        + b"\n"
        for clip in clips
    ]
    publish(path, sorted(lines))


@lru_cache(maxsize=1)
def open_wanted_index(path: Path) -> WantedIndex:
    """Read what `write_wanted_index` wrote; once a process, so a path must not be written twice."""
    with path.open("rb") as file:
        # an empty file cannot be mapped
        return WantedIndex(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b"")


def _parsed(line: bytes) -> tuple[Clip, bool]:
    key, state, split, number, label = line.decode().rstrip("\n").split("\t")
    clip = Clip(
        youtube_id=key[: _KEY_LENGTH - 14],
        time_start=int(key[-13:-7]),
        time_end=int(key[-6:]),
        split=split,
        label=label or None,
        line=int(number),
    )
    return clip, state == _PENDING.decode()
