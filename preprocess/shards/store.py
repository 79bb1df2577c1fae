"""Where the files of a shard set lie, and what their heads say together.

A `ShardStore` answers three questions: what does `index.json` say, what do the heads of these shards say, and where
are the bytes of this shard. `FolderStore` is a folder of a local or network disk, which it only ever reads.
"""

import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from preprocess.errors import BadShard
from preprocess.shards.head import ShardHead, read_head, same_meaning
from preprocess.shards.index import Index, ShardInfo
from preprocess.shards.layout import COLUMNS, STREAMS, ClipTable, ShardAttributes

OPEN_SHARDS = 128
"""Shards of a folder kept mapped in a process; each takes one file descriptor, of which many systems allow 1024."""


@dataclass(frozen=True, kw_only=True)
class SetTable:
    """What the heads of several shards say together: all that a plan of an epoch needs, some 100 bytes a clip."""

    attributes: ShardAttributes
    """Of the first shard that could be read; `failed` apart, all say the same."""
    clips: ClipTable
    """Rows of all shards, in order. Those of a shard that could not be read are there too, as many as the index says,
    with an empty key and no frames: whoever can read it counts the same positions."""
    shard: np.ndarray
    """int32 [clips]: number of the row's shard."""
    row: np.ndarray
    """int32 [clips]: number of the row within its shard."""
    places: np.ndarray
    """int64 [shards, streams, 4], see `preprocess.shards.head`; 0 where the shard could not be read."""
    bad: dict[int, str]
    """Number of a shard that could not be read, to the reason."""


class ShardStore(Protocol):
    """Where shards are."""

    name: str
    """A folder or an address, for messages."""
    keeps_open: int
    """Shards that a reader may keep mapped when it does not need them at the moment."""

    def index(self) -> Index:
        """What `index.json` says now."""
        ...

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        """The heads of these shards together.

        Args:
            infos: at least one.
            skip_bad: a shard that cannot be read is noted in `bad`; otherwise it raises.

        Raises:
            BadShard: naming the shard; with `skip_bad` only if none can be read.
        """
        ...

    def source(self, info: ShardInfo) -> str:
        """The name of a shard, for messages."""
        ...

    def fetch(self, info: ShardInfo) -> None:
        """Bring a shard near, if it is far: a later `map` is quick, unless room was needed since."""
        ...

    def map(self, info: ShardInfo) -> np.ndarray:
        """The bytes of a shard as a read-only view, uint8 [bytes]; they stay there as long as a view of them does.

        Raises:
            BadShard: naming the shard.
        """
        ...


class FolderStore:
    """A folder with `index.json`, on a local or network disk; nothing is written there."""

    keeps_open = OPEN_SHARDS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)

    def index(self) -> Index:
        """See `ShardStore`."""
        return Index.read(self.folder)

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        """See `ShardStore`."""
        return gather(infos, (self._head(info) for info in infos), source=self.source, skip_bad=skip_bad)

    def source(self, info: ShardInfo) -> str:
        """See `ShardStore`."""
        return str(self.folder / info.name)

    def fetch(self, info: ShardInfo) -> None:
        """Nothing is to be done: the folder is where the shards are."""

    def map(self, info: ShardInfo) -> np.ndarray:
        """See `ShardStore`."""
        self._check(info)
        try:
            with (self.folder / info.name).open("rb") as file:
                return map_file(file.fileno())
        except OSError as error:
            raise BadShard(f"{self.source(info)} cannot be read: {error.strerror}") from error

    def _head(self, info: ShardInfo) -> ShardHead | BadShard:
        try:
            self._check(info)
            return read_head(self.folder / info.name, file_bytes=info.bytes, source=self.source(info))
        except BadShard as error:
            return error

    def _check(self, info: ShardInfo) -> None:
        path = self.folder / info.name
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise BadShard(f"{path} cannot be read: {error.strerror}") from error
        if size != info.bytes:
            found = "is missing" if size is None else f"has {size} bytes"
            raise BadShard(f"{path} {found}, the index says {info.bytes} bytes; run `preprocess flow` again")


def map_file(descriptor: int) -> np.ndarray:
    """An open file as a read-only view; uint8 [bytes]. The descriptor may be closed."""
    return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)


def gather(
    infos: Sequence[ShardInfo],
    heads: Iterable[ShardHead | BadShard],
    *,
    source: Callable[[ShardInfo], str],
    skip_bad: bool,
) -> SetTable:
    """One table of many heads, in order, each let go as soon as its rows are taken.

    Args:
        infos: of the shards, from the index.
        heads: of the same shards, or what is wrong with them.
        source: names a shard.
        skip_bad: see `ShardStore.table`.

    Raises:
        BadShard: see `ShardStore.table`.
    """
    tables: list[ClipTable] = []
    places = np.zeros((len(infos), len(STREAMS), 4), np.int64)
    bad: dict[int, str] = {}
    first: tuple[str, ShardAttributes] | None = None
    for number, (info, found) in enumerate(zip(infos, heads, strict=True)):
        head = _agreeing(info, found, first=first, source=source)
        if isinstance(head, BadShard):
            if not skip_bad:
                raise head
            bad[number] = str(head)
            tables.append(_unknown(info.clips))
            continue
        first = first or (source(info), head.attributes)
        places[number] = head.places
        tables.append(head.clips)
    if first is None:
        raise BadShard(f"none of {len(infos)} shards can be read; the first: {bad[0]}")
    counts = [len(table) for table in tables]
    starts = np.cumsum([0, *counts[:-1]], dtype=np.int32)
    return SetTable(
        attributes=first[1],
        clips=ClipTable.concatenate(tables),
        shard=np.repeat(np.arange(len(infos), dtype=np.int32), counts),
        row=np.arange(sum(counts), dtype=np.int32) - np.repeat(starts, counts),
        places=places,
        bad=bad,
    )


def _agreeing(
    info: ShardInfo,
    found: ShardHead | BadShard,
    *,
    first: tuple[str, ShardAttributes] | None,
    source: Callable[[ShardInfo], str],
) -> ShardHead | BadShard:
    """The head, if it is what the index and the first shard say."""
    if isinstance(found, BadShard):
        return found
    if len(found.clips) != info.clips:
        return BadShard(
            f"{source(info)} has {len(found.clips)} clips, the index says {info.clips}; run `preprocess flow` again"
        )
    try:
        same_meaning([*([first] if first else []), (source(info), found.attributes)])
    except BadShard as error:
        return error
    if first and found.attributes.labels != first[1].labels:
        return BadShard(f"{source(info)} has other label names than {first[0]}; run `preprocess flow` again")
    return found


def _unknown(clips: int) -> ClipTable:
    columns = {name: np.zeros(clips, "S1" if dtype == "S" else dtype) for name, dtype in COLUMNS.items()}
    columns["label"] -= 1
    return ClipTable(**columns)
