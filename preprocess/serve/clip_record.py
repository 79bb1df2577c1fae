"""All that the runs below ROOT know of one clip."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from preprocess.console import printable
from preprocess.errors import BadShard
from preprocess.serve.index.clips import Standing, earlier_places, find_clip
from preprocess.serve.index.shards import MISSING_ROW, name_of
from preprocess.serve.manifest_lines import ManifestLine, read_manifest_line
from preprocess.serve.open_shards import OpenShards
from preprocess.serve.run_folders import Kind, RunFolder
from preprocess.shards import Shard, ShardAttributes
from preprocess.shards.layout import STREAMS


@dataclass(frozen=True, kw_only=True)
class ShardClip:
    """A clip in a shard."""

    name: str
    """Of the shard's file."""
    path: Path
    row: int
    attributes: ShardAttributes
    frames: int
    """Of RGB; there is one flow field fewer."""
    height: int
    """Pixels, of a frame."""
    width: int
    time_start: float
    """Seconds in the original video."""
    time_end: float
    crc32: dict[str, int]
    """Of the JPEGs, by stream."""
    bytes: dict[str, int]
    """Of the JPEGs, by stream."""

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Every attribute of the shard, for reading."""
        attributes = self.attributes
        named = [
            ("frames a second", str(attributes.fps)),
            ("short side", f"{attributes.short_side} px"),
            ("JPEG quality of frames", str(attributes.rgb_quality)),
            ("JPEG quality of flow", str(attributes.flow_quality)),
            ("flow codes a pixel", f"{attributes.flow_scale:g}"),
            ("code of no motion", str(attributes.flow_zero)),
            ("flow is clipped at", f"\u00b1{attributes.flow_bound:g} px"),
            ("classes", f"{len(attributes.labels):,}"),
            ("clips left out of this shard", str(len(attributes.failed))),
        ]
        return named + [(f"TV-L1 {name}", _text(value)) for name, value in sorted(attributes.tvl1.items())]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one run knows of a clip."""

    standing: Standing
    lines: tuple[ManifestLine, ...] = ()
    """Every line of the manifest, oldest first; empty for shards."""
    shard: ShardClip | None = None
    """None for manifests, and where the shard cannot be read or left the clip out."""
    problem: str = ""
    """Why there is no `shard`."""


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """A clip, in all runs."""

    key: str
    runs: tuple[RunRecord, ...]
    """By name of the run."""

    def shown(self, run: str | None) -> RunRecord | None:
        """The record with frames to show: that of `run` if it has any, or the first that has."""
        shown = [record for record in self.runs if record.shard]
        chosen = [record for record in shown if record.standing.run == run]
        return next(iter(chosen + shown), None)


def read_clip(
    db: sqlite3.Connection, key: str, *, folders: tuple[RunFolder, ...], shards: OpenShards
) -> ClipRecord | None:
    """All that is known of a clip; None if no run knows it."""
    found = find_clip(db, key)
    if found is None:
        return None
    by_code = {run.id: run for run in folders}
    records = (_record(db, key, one, by_code[one.run], shards) for one in found.standings if one.run in by_code)
    return ClipRecord(key=key, runs=tuple(records))


def find_shard_clip(
    db: sqlite3.Connection, key: str, *, run: RunFolder, shards: OpenShards
) -> tuple[Shard, ShardClip] | None:
    """A clip and the shard of `run` that holds it; None if none does.

    Raises:
        BadShard: the shard cannot be read (any more).
    """
    row = db.execute(
        "SELECT shard.name, entry.at FROM run JOIN entry ON entry.run = run.id JOIN shard ON shard.id = entry.shard "
        "WHERE run.code = ? AND entry.key = ? AND entry.at != ?",
        (run.id, key, MISSING_ROW),
    ).fetchone()
    if row is None:
        return None
    name, at = row
    shard = shards.get(run.folder / name)
    if at >= len(shard) or name_of(shard.clips.key[at]) != key:
        raise BadShard(f"{name} changed since it was indexed; the index follows in a moment")
    return shard, _shard_clip(shard, at)


def _record(db: sqlite3.Connection, key: str, standing: Standing, run: RunFolder, shards: OpenShards) -> RunRecord:
    if run.kind is Kind.CLIPS:
        places = [*earlier_places(db, run=run.id, key=key), standing.at]
        lines = tuple(read_manifest_line(run.folder, at, key=key) for at in places)
        return RunRecord(standing=standing, lines=lines)
    try:
        found = find_shard_clip(db, key, run=run, shards=shards)
    except BadShard as error:
        return RunRecord(standing=standing, problem=str(error))
    if found is None:
        return RunRecord(standing=standing, problem=_why_missing(db, key, standing, run, shards))
    return RunRecord(standing=standing, shard=found[1])


def _why_missing(db: sqlite3.Connection, key: str, standing: Standing, run: RunFolder, shards: OpenShards) -> str:
    row = db.execute("SELECT name FROM shard WHERE id = ?", (standing.shard,)).fetchone()
    if row is None:
        return "its shard is gone"
    try:
        failed = shards.get(run.folder / row[0]).attributes.failed
    except BadShard as error:
        return str(error)
    reason = next((reason for name, reason in failed.items() if printable(name) == key), "no reason given")
    return f"{row[0]} was made without it: {reason}"


def _shard_clip(shard: Shard, row: int) -> ShardClip:
    clips = shard.clips
    return ShardClip(
        name=shard.path.name,
        path=shard.path,
        row=row,
        attributes=shard.attributes,
        frames=int(clips.rgb_count[row]),
        height=int(clips.height[row]),
        width=int(clips.width[row]),
        time_start=float(clips.time_start[row]),
        time_end=float(clips.time_end[row]),
        crc32={stream: int(getattr(clips, f"{stream}_crc32")[row]) for stream in STREAMS},
        bytes={stream: len(shard.clip_bytes(stream, row)) for stream in STREAMS},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
