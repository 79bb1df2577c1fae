"""The folders below ROOT that a run has written, or writes: clips with a manifest, shards with an index."""

import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from preprocess.kinetics_csv import SPLITS
from preprocess.outcomes import MANIFEST_NAME
from preprocess.plan import PLAN_NAME
from preprocess.shards.index import INDEX_NAME, is_shard_name
from preprocess.status.run_status import STATUS_NAME
from preprocess.wanted import LIST_INFO_NAME

DEPTH = 3
"""Folders below ROOT that are looked into."""


class Kind(StrEnum):
    """What a folder holds."""

    CLIPS = "clips"
    SHARDS = "shards"


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """One folder of clips or shards."""

    id: str
    """Names it in addresses: hexadecimal digits, the same as long as the folder is called the same."""
    name: str
    """Relative to ROOT, for people; `.` is ROOT itself."""
    folder: Path
    command: str
    """Of `preprocess`, that makes what is in it: `download`, `index` or `flow`."""

    @property
    def kind(self) -> Kind:
        """What it holds."""
        return Kind.SHARDS if self.command == "flow" else Kind.CLIPS

    @property
    def manifest_bytes(self) -> int:
        """Size of its manifest; 0 where there is none."""
        try:
            return (self.folder / MANIFEST_NAME).stat().st_size
        except OSError:
            return 0


def find_runs(root: Path) -> tuple[RunFolder, ...]:
    """All run folders in and below `root`, sorted by name; links are not followed, hidden folders not looked into."""
    found = [_run(root, folder, command) for folder, command in _walk(root, DEPTH)]
    return tuple(sorted(found, key=lambda run: run.name))


def _run(root: Path, folder: Path, command: str) -> RunFolder:
    name = folder.relative_to(root).as_posix()
    return RunFolder(
        id=hashlib.sha256(os.fsencode(name)).hexdigest()[:12],
        name=name.encode(errors="backslashreplace").decode(),
        folder=folder,
        command=command,
    )


def _walk(folder: Path, depth: int) -> list[tuple[Path, str]]:
    try:
        with os.scandir(folder) as entries:
            members = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return []  # not ours to read
    command = _command({name for name, is_folder in members if not is_folder})
    found = [(folder, command)] if command else []
    if depth:
        for name, is_folder in members:
            # clips lie in SPLIT/CLASS/: a thousand folders with nothing of interest
            is_split = command in {"download", "index"} and name.lower() in SPLITS
            if is_folder and not name.startswith(".") and not is_split:
                found += _walk(folder / name, depth - 1)
    return found


def _command(files: set[str]) -> str | None:
    if files & {INDEX_NAME, PLAN_NAME} or any(map(is_shard_name, files)):
        return "flow"
    if files & {LIST_INFO_NAME, STATUS_NAME}:
        return "download"
    return "index" if MANIFEST_NAME in files else None  # which leaves neither of these
