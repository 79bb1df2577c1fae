"""What became of archives: `archives.jsonl` for good, and a journal of each one that is being read.

The ledger says which archives were read whole, and what was in them, so that a later run reads only those that can
help. The journal holds what a worker has stored until the driver has it in the manifest, and the tries that led to
nothing: so a clip that kills its worker is found out and costs itself only.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocess.annotations import Clip
from preprocess.errors import WorkerDied
from preprocess.jsonl import append_line, line_of, read_lines
from preprocess.outcomes import ManifestEntry, Outcome
from preprocess.paths import make_folder, publish
from preprocess.sources.remote import Version

LEDGER_NAME = "archives.jsonl"
JOURNALS_NAME = ".archives"
KILLS = 2
"""A clip that was being decoded when so many workers died is not tried again."""


@dataclass(frozen=True, kw_only=True)
class ArchiveRecord:
    """One line of the ledger. A later line of the same address replaces an earlier one."""

    address: str
    outcome: Outcome
    """`done` when it was read whole."""
    cause: str = ""
    """Why not, a word of `preprocess.errors.Cause`; empty when done."""
    reason: str = ""
    tag: str = ""
    """With `length`, the version that was read; see `preprocess.sources.remote.Version`."""
    length: int | None = None
    members: tuple[str, ...] = ()
    """Keys, or ids, of the clips in it, wanted or not, as far as it was read."""
    stored: int = 0
    """Members that became clips this time."""
    refused: tuple[str, ...] = ()
    """Those of `members` that are wanted and no good."""
    settled: int = 0
    """Members that are wanted and were settled before."""
    unwanted: int = 0
    """Members that no row of the list wants."""
    skipped: Mapping[str, int] | None = None
    """Members that were passed over, by kind."""

    @property
    def version(self) -> Version:
        """Of what was read."""
        return Version(tag=self.tag, length=self.length)


def read_ledger(folder: Path) -> dict[str, ArchiveRecord]:
    """The last record of each address."""
    return {record.address: record for record in read_lines(folder / LEDGER_NAME, parse=_record)}


def append_ledger(folder: Path, record: ArchiveRecord) -> None:
    """Add one line, durable when this returns.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    append_line(folder / LEDGER_NAME, asdict(record))


class ArchiveJournal:
    """What was stored from one archive, and tried, since its last whole reading.

    Args:
        path: made by `of` or `leftovers`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, address: str, *, folder: Path) -> "ArchiveJournal":
        """The journal of an archive, in a folder of clips."""
        name = hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:32]
        return cls(folder / JOURNALS_NAME / f"{name}.jsonl")

    @classmethod
    def leftovers(cls, folder: Path) -> "list[ArchiveJournal]":
        """Those of archives that a run was stopped in, or could not read whole."""
        return [cls(path) for path in sorted((folder / JOURNALS_NAME).glob("*.jsonl"))]

    @property
    def entries(self) -> dict[str, ManifestEntry]:
        """The last entry of each key."""
        return {line.key: line for line in self._lines() if isinstance(line, ManifestEntry)}

    def killers(self) -> set[str]:
        """Keys of clips at whose decoding `KILLS` workers ended without a word."""
        counts: Counter[str] = Counter()
        for line in self._lines():
            if isinstance(line, ManifestEntry):
                del counts[line.key]
            else:
                counts[line] += 1
        return {key for key, count in counts.items() if count >= KILLS}

    def begin(self, clip: Clip) -> None:
        """Say that a clip is going to be decoded. Outlives the worker, and need not outlive the machine."""
        make_folder(self._path.parent)
        append_line(self._path, {"trying": clip.key}, durable=False)

    def finish(self, entry: ManifestEntry) -> None:
        """Say what became of it, durably."""
        make_folder(self._path.parent)
        append_line(self._path, asdict(entry))

    def forgive(self) -> None:
        """Forget the tries that led to nothing: the worker's node was lost, which is no clip's fault."""
        publish(self._path, [line_of(asdict(entry)) for entry in self.entries.values()])

    @staticmethod
    def forget_all(folder: Path) -> None:
        """Delete the journals of a folder in which no clip is left to be had."""
        shutil.rmtree(folder / JOURNALS_NAME, ignore_errors=True)

    def delete(self) -> None:
        """Once the driver has all of it."""
        self._path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[ManifestEntry | str]:
        return read_lines(self._path, parse=_line)


def of_killer(clip: Clip) -> ManifestEntry:
    """The entry of a clip that `ArchiveJournal.killers` names."""
    error = WorkerDied(f"{KILLS} worker processes died while they decoded it")
    return ManifestEntry.of_error(clip, error, source="mirror")


def _record(fields: dict[str, Any]) -> ArchiveRecord:
    names = {name: tuple(fields[name]) for name in ("members", "refused")}
    return ArchiveRecord(**{**fields, **names, "outcome": Outcome(fields["outcome"])})


def _line(fields: dict[str, Any]) -> ManifestEntry | str:
    if "trying" in fields:
        return str(fields["trying"])
    return ManifestEntry.of_fields(fields)
