"""Check a shard against every promise of the contract that needs no decoding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np

from preprocess.errors import BadShard, EnvironmentProblem
from preprocess.shards.head import DATA_AT, DATA_BYTES, FRAMES, OFFSETS_AT, ShardHead, check_offsets, read_head
from preprocess.shards.index import ShardInfo
from preprocess.shards.layout import STREAMS
from preprocess.shards.scan import Scan, Stream, scan


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One broken promise."""

    shard: str
    """File name."""
    clip: str = ""
    """Key of the clip that it costs; empty when it is the whole shard."""
    problem: str

    def __str__(self) -> str:
        return ": ".join([self.shard, *([f"clip {self.clip}"] if self.clip else []), self.problem])


@dataclass(frozen=True, kw_only=True)
class CheckedShard:
    """What a check of a shard found."""

    findings: tuple[Finding, ...]
    head: ShardHead | None
    """None where it is damaged."""
    info: ShardInfo | None
    """Its line of the index, from what was read and summed; None with `head`."""


def verify_shard(path: Path) -> tuple[ShardHead, ShardInfo]:
    """Structure, counts, offsets, JPEG markers and sizes, and every clip's CRC-32, in one pass over the file.

    Returns:
        Head and line of the index, when all hold.

    Raises:
        BadShard: naming the shard and, where one is at fault, the clip.
        EnvironmentProblem: this user may not read it.
    """
    checked = check_shard(path)
    if checked.head is None or checked.info is None or checked.findings:
        first = checked.findings[0]
        raise BadShard(f"{path}: {str(first).removeprefix(f'{first.shard}: ')}")
    return checked.head, checked.info


def check_shard(path: Path, *, info: ShardInfo | None = None) -> CheckedShard:
    """All that is wrong with a shard, as far as can be told without decoding.

    Args:
        path: of the shard.
        info: what the index says of it; None leaves the index out.

    Raises:
        EnvironmentProblem: this user may not read it.
    """
    problems: list[tuple[str, str]] = []
    head = found = None
    try:
        with _opened(path) as (descriptor, size):
            head, found = _look_through(descriptor, problems, path=path, size=size, info=info)
    except BadShard as error:
        problems.append((str(error).removeprefix(str(path)).removeprefix(":").strip(), ""))
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it declares more than fits into memory"
        problems.append((f"cannot be read: {reason}", ""))
    findings = tuple(Finding(shard=path.name, clip=clip, problem=problem) for problem, clip in problems)
    return CheckedShard(findings=findings, head=head, info=found)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a file; BadShard when there is none."""
    try:
        # not blocking: a pipe in place of a shard must not be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BadShard(f"{path} is missing") from error
    except PermissionError as error:
        raise EnvironmentProblem(f"{path} may not be read by this user; change its mode or run as its owner") from error
    try:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise BadShard(f"{path} is not a regular file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _look_through(
    descriptor: int,
    problems: list[tuple[str, str]],
    *,
    path: Path,
    size: int,
    info: ShardInfo | None,
) -> tuple[ShardHead, ShardInfo]:
    """Add what is wrong to `problems`, each with the key of the clip that it costs, or an empty one.

    Returns:
        Head, and line of the index as it should be.

    Raises:
        BadShard: something is so wrong that the rest cannot be looked at.
    """
    if info is not None and size != info.bytes:
        problems.append((f"has {size} bytes, the index says {info.bytes}", ""))
    head = read_head(path, file_bytes=size, source=str(path))
    if info is not None and len(head.clips) != info.clips:
        problems.append((f"has {len(head.clips)} clips, the index says {info.clips}", ""))
    streams = list(_streams(descriptor, head, source=str(path)))
    scanned = scan(descriptor, streams)
    problems += _problems(descriptor, head, streams, scanned)
    # after what names a clip: that the file is another one follows from any of it
    if info is not None and scanned.sha256 != info.sha256:
        found, written = scanned.sha256[:12], info.sha256[:12]
        problems.append((f"has sha256 {found}..., the index says {written}...: the file changed since", ""))
    return head, ShardInfo(name=path.name, bytes=size, sha256=scanned.sha256, clips=len(head.clips))


def _streams(descriptor: int, head: ShardHead, *, source: str) -> Iterator[Stream]:
    for name, place in zip(STREAMS, head.places, strict=True):
        table = os.pread(descriptor, 8 * (int(place[FRAMES]) + 1), int(place[OFFSETS_AT]))
        offset = np.frombuffer(table, np.int64)
        check_offsets(offset, stream=name, data_bytes=int(place[DATA_BYTES]), source=source)
        yield Stream.of(name, head.clips, offset, data_at=int(place[DATA_AT]))


def _problems(descriptor: int, head: ShardHead, streams: list[Stream], scanned: Scan) -> Iterator[tuple[str, str]]:
    """(what is wrong, key of the clip or empty)."""
    clips = head.clips
    keys = [key.decode(errors="backslashreplace") for key in clips.key]
    unique, counts = np.unique(clips.key, return_counts=True)
    for key in unique[counts > 1]:
        yield "a clip key occurs twice", key.decode(errors="backslashreplace")
    for stream in streams:
        expected = getattr(clips, f"{stream.name}_crc32")
        for row in np.flatnonzero(scanned.crc32[stream.name] != expected).tolist():
            found = scanned.crc32[stream.name][row]
            yield f"{stream.name} has CRC-32 {found:08x}, written as {expected[row]:08x}", keys[row]
        told: set[int] = set()  # one frame of a clip is enough to know that it must be made again
        for frame in scanned.suspect[stream.name].tolist():
            row = stream.clip_of(frame)
            fault = None if row in told else stream.fault(frame, descriptor)
            if fault is not None:
                told.add(row)
                yield f"{stream.name} frame {frame - int(stream.first[row])} {fault}", keys[row]
