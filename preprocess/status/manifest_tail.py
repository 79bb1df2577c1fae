"""The manifest's outcomes and causes, kept up to date by reading only what was added since the last look."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from preprocess.errors import InvalidInput
from preprocess.jsonl import parse_line
from preprocess.outcomes import MANIFEST_NAME, Outcome

Kind = tuple[str, str]
"""Outcome and cause."""

_OUTCOMES = {outcome.value for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class ManifestCounts:
    """What a manifest holds."""

    outcomes: dict[str, int]
    """Outcome to clips, only those that occur, `done` first."""
    missing: tuple[tuple[str, str, int], ...]
    """Outcome, cause and clips of all that is not done, most frequent first."""
    malformed: int = 0
    """Lines that are no entries, such as one torn by a kill or changed by a disk."""


class ManifestTail:
    """Counts of a manifest that another process appends to.

    Args:
        folder: of the clips.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST_NAME
        self._forget(inode=0)

    def refresh(self) -> ManifestCounts:
        """Read on from where the last look ended; a line that is not finished yet is left for the next one.

        Raises:
            InvalidInput: the manifest cannot be read.
        """
        try:
            if self._path.is_fifo():
                raise InvalidInput(f"cannot read {self._path}: it is a pipe")  # which would be waited for
            with self._path.open("rb") as file:
                self._read_on(file)
        except FileNotFoundError:
            self._forget(inode=0)
        except OSError as error:
            raise InvalidInput(f"cannot read {self._path}: {error.strerror}") from error
        outcomes: Counter[str] = Counter()
        for (outcome, _), clips in self._counts.items():
            outcomes[outcome] += clips
        missing = [(*kind, clips) for kind, clips in self._counts.items() if clips and kind[0] != Outcome.DONE]
        return ManifestCounts(
            outcomes={outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
            missing=tuple(sorted(missing, key=lambda kind: (-kind[2], kind))),
            malformed=self._malformed,
        )

    def _forget(self, *, inode: int) -> None:
        self._inode = inode
        self._offset = 0
        self._malformed = 0
        self._kinds: dict[str, Kind] = {}
        self._counts: Counter[Kind] = Counter()
        self._shared: dict[Kind, Kind] = {}

    def _read_on(self, file: BinaryIO) -> None:
        file.seek(0, 2)
        inode = self._path.stat().st_ino
        if inode != self._inode or file.tell() < self._offset:
            self._forget(inode=inode)  # another file than before
        file.seek(self._offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            self._offset += len(line)
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            fields = parse_line(line)
            key, kind = fields["key"], (fields["outcome"], fields.get("cause", ""))
            if not isinstance(key, str) or kind[0] not in _OUTCOMES or not isinstance(kind[1], str):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            self._malformed += 1
            return
        kind = self._shared.setdefault(kind, kind)  # one object for all clips of a kind: there are 650,000
        before = self._kinds.get(key)
        if before is not None:
            self._counts[before] -= 1
        self._kinds[key] = kind
        self._counts[kind] += 1
