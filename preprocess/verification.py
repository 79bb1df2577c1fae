"""Check a whole folder of shards: each of them, what they say together, and that they are what the index says.

A shard that is damaged costs no other its check, and nothing is changed.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from preprocess.cores import cores
from preprocess.errors import BadShard, InvalidInput
from preprocess.pixels import decode_jpeg
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo, is_shard_name
from preprocess.shards.layout import STREAMS, ShardAttributes, shard_name
from preprocess.shards.read import Shard
from preprocess.shards.verify import CheckedShard, Finding, check_shard

_FAULTS_SHOWN = 3  # frames of a clip that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked and what is broken."""

    shards: int
    """That the index names."""
    clips: int
    """In the shards that could be read."""
    bytes: int
    """Read and summed."""
    seconds: float
    """Wall clock."""
    cpu_seconds: float
    """Of this process, all threads together."""
    findings: tuple[Finding, ...]
    """In the order of the index."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of the shards that must be made again."""
        return tuple(sorted({found.shard for found in self.findings} - {INDEX_NAME}))


def verify_folder(
    folder: Path,
    *,
    decode: bool = False,
    workers: int | None = None,
    on_shard: Callable[[int, tuple[Finding, ...]], None] = lambda total, findings: None,
) -> Verification:
    """Check every shard that `index.json` names against the contract, the index and the other shards, and that it
    names all that lie beside it.

    Args:
        folder: of the shards.
        decode: decode every frame too, which takes some hundred times longer.
        workers: threads; each checks a shard of its own. None is one a core.
        on_shard: called for each shard that was checked, with the number of shards and what was found in it.

    Raises:
        InvalidInput: no index; or fewer than one worker.
        BadShard: the index itself is damaged.
        EnvironmentProblem: a shard may not be read by this user.
    """
    workers = workers if workers is not None else cores()
    if workers < 1:
        raise InvalidInput(f"workers must be at least 1, got {workers}")
    started, started_cpu = time.monotonic(), time.process_time()
    index = Index.read(folder)
    findings: dict[str, list[Finding]] = defaultdict(list)
    findings[INDEX_NAME] += [*_missing_names(index), *_unnamed(index, folder)]
    together = _Together(index)
    clips = size = 0
    stop = threading.Event()
    check = partial(_check, folder, decode=decode, stop=stop)
    # threads are enough: hashing, summing and decoding all leave Python to the others
    with ThreadPoolExecutor(workers) as executor:
        try:
            for info, checked in zip(index.shards, executor.map(check, index.shards), strict=True):
                found = (*checked.findings, *together.findings(info.name, checked))
                findings[info.name] += found
                clips += 0 if checked.head is None else len(checked.head.clips)
                size += 0 if checked.info is None else checked.info.bytes
                on_shard(len(index.shards), found)
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return Verification(
        shards=len(index.shards),
        clips=clips,
        bytes=size,
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - started_cpu,
        findings=tuple(found for one in findings.values() for found in one),
    )


def _check(folder: Path, info: ShardInfo, *, decode: bool, stop: threading.Event) -> CheckedShard:
    checked = check_shard(folder / info.name, info=info)
    if not decode or checked.head is None:
        return checked
    try:
        faults = tuple(_undecodable(Shard(folder / info.name), stop))
    except BadShard as error:
        faults = (Finding(shard=info.name, problem=str(error)),)
    return replace(checked, findings=(*checked.findings, *faults))


def _undecodable(shard: Shard, stop: threading.Event) -> Iterator[Finding]:
    clips = shard.clips
    for row, key in enumerate(clips.key):
        if stop.is_set():
            return
        height, width = int(clips.height[row]), int(clips.width[row])
        expected = {"rgb": (height, width, 3), "flow": (2 * height, width)}
        for stream in STREAMS:
            first, count = (int(getattr(clips, f"{stream}_{column}")[row]) for column in ("first", "count"))
            faults = [
                frame for frame in range(count) if not _decodes(shard.jpeg(stream, first + frame), expected[stream])
            ]
            if faults:
                shown = ", ".join(map(str, faults[:_FAULTS_SHOWN])) + (", ..." if len(faults) > _FAULTS_SHOWN else "")
                yield Finding(
                    shard=shard.path.name,
                    clip=key.decode(errors="backslashreplace"),
                    problem=f"{len(faults)} of {count} {stream} frames cannot be decoded ({shown})",
                )


def _decodes(jpeg: np.ndarray, shape: tuple[int, ...]) -> bool:
    try:
        return decode_jpeg(jpeg, height=shape[0], width=shape[1], source="", flags=cv2.IMREAD_UNCHANGED).shape == shape
    except BadShard:
        return False


class _Together:
    """What the shards of a folder must have in common, looked at one after the other."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._first: tuple[str, ShardAttributes] | None = None
        self._keys: dict[bytes, str] = {}

    def findings(self, name: str, checked: CheckedShard) -> Iterator[Finding]:
        """What of a shard does not fit the index or those before it."""
        if checked.head is None:
            return
        attributes = checked.head.attributes
        self._first = self._first or (name, attributes)
        for field in fields(ShardAttributes):
            if field.name == "failed":
                continue  # of each shard its own
            theirs, ours = getattr(self._first[1], field.name), getattr(attributes, field.name)
            if theirs != ours:
                yield Finding(shard=name, problem=f"has {field.name} {ours}, {self._first[0]} has {theirs}")
        for parameter, value in self._configured(attributes):
            expected = self._index.config.get(parameter, value)
            if expected != value:
                yield Finding(shard=name, problem=f"has {parameter} {value}, {INDEX_NAME} says {expected}")
        if attributes.labels != self._index.labels:
            yield Finding(shard=name, problem=f"has label names other than those of {INDEX_NAME}")
        for key in checked.head.clips.key.tolist():
            other = self._keys.setdefault(key, name)
            if other != name:
                text = key.decode(errors="backslashreplace")
                yield Finding(shard=name, clip=text, problem=f"is in {other} too")

    @staticmethod
    def _configured(attributes: ShardAttributes) -> Iterator[tuple[str, object]]:
        yield "fps", str(attributes.fps)
        for name in ("short_side", "rgb_quality", "flow_quality"):
            yield name, getattr(attributes, name)
        if attributes.tvl1:
            yield "backend", attributes.tvl1.get("backend")
            yield "tvl1", {name: value for name, value in attributes.tvl1.items() if name != "backend"}


def _missing_names(index: Index) -> Iterator[Finding]:
    """Shards that the names of the others speak of."""
    named = {info.name for info in index.shards}
    numbers = Counter((info.split, int(info.name[:-3].rsplit("-", 1)[1])) for info in index.shards)
    for (split, count), found in sorted(numbers.items()):
        if found < count:
            # not all of them: a name may speak of any number
            lost = next(name for number in range(count) if (name := shard_name(split, number, count)) not in named)
            yield Finding(
                shard=INDEX_NAME, problem=f"names {found} of {count} {split} shards; {lost} is not among them"
            )


def _unnamed(index: Index, folder: Path) -> Iterator[Finding]:
    """Shards that lie there and would not be read."""
    there = {path.name for path in folder.glob("*.h5") if is_shard_name(path.name)}
    for name in sorted(there - {info.name for info in index.shards}):
        yield Finding(shard=INDEX_NAME, problem=f"does not name {name}, which lies beside it")
