"""Folders as a run leaves them, without a run: a list, a manifest, no videos."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from preprocess.annotations import Clip, ListSource, RefusedRow
from preprocess.jsonl import line_of
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome
from preprocess.wanted import Wanted


def clip(number: int, *, label: str | None = "yoga", split: str = "train") -> Clip:
    """The clip of a video of its own."""
    return Clip(youtube_id=f"{number:011d}", time_start=0, time_end=10, split=split, label=label, line=number + 2)


def done(of: Clip, **fields: object) -> ManifestEntry:
    """A usable clip of 10 s; its sha256 goes by its key."""
    values: dict[str, object] = {
        "source": "youtube",
        "sha256": hashlib.sha256(of.key.encode()).hexdigest(),
        "bytes": 1000,
        "duration_s": 10.0,
        "frame_count": 300,
        "fps": 29.97003,
        "width": 340,
        "height": 256,
    }
    return ManifestEntry.of_clip(of, Outcome.DONE, **{**values, **fields})


def failed(of: Clip, outcome: Outcome, cause: str, reason: str = "gone") -> ManifestEntry:
    """A clip that could not be had."""
    return ManifestEntry.of_clip(of, outcome, cause=cause, reason=reason, source="youtube")


def write_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> Path:
    """The folder with a manifest of these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).write_bytes(b"".join(line_of(asdict(entry)) for entry in entries))
    return folder


def write_folder(
    folder: Path,
    wanted: Sequence[Clip],
    entries: Iterable[ManifestEntry],
    *,
    refused: Sequence[RefusedRow] = (),
    rows: int | None = None,
    name: str = "k400.csv",
) -> Path:
    """The folder with a list of `rows` rows (by default the wanted and the refused ones) and a manifest."""
    write_manifest(folder, entries)
    rows = len(wanted) + len(refused) if rows is None else rows
    Wanted(
        sources=(ListSource(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), rows=rows),),
        dataset="kinetics400",
        clips=tuple(sorted(wanted, key=lambda one: one.key)),
        refused=tuple(refused),
    ).write(folder)
    return folder
