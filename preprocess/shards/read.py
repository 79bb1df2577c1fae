"""Read shards: audited heads by h5py, bytes by `mmap` without a copy."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path

import numpy as np

from preprocess.errors import BadShard, NoClips
from preprocess.shards.head import DATA_AT, DATA_BYTES, FRAMES, OFFSETS_AT, check_offsets, read_head
from preprocess.shards.index import ShardInfo
from preprocess.shards.layout import COLUMNS, STREAMS, ClipTable, ShardAttributes
from preprocess.shards.store import FolderStore, SetTable, ShardStore, map_file


class _Bytes:
    """The frames of one mapped shard file."""

    def __init__(self, mapped: np.ndarray, places: np.ndarray) -> None:
        self._mapped = mapped
        self._places = places

    def offset(self, stream: int) -> np.ndarray:
        """Where each frame begins within the data, and where the last one ends; int64 [frames + 1]."""
        place = self._places[stream]
        start, entries = int(place[OFFSETS_AT]), int(place[FRAMES]) + 1
        return np.frombuffer(self._mapped[start : start + 8 * entries].data, np.int64)

    def jpegs(self, stream: int, first: int, numbers: Sequence[int]) -> list[np.ndarray]:
        """Frames `first + number`, each a view."""
        lowest = min(numbers)
        start = int(self._places[stream][DATA_AT])
        offset = (start + self.offset(stream)[first + lowest : first + max(numbers) + 2]).tolist()
        mapped = self._mapped
        return [mapped[offset[number - lowest] : offset[number - lowest + 1]] for number in numbers]

    def span(self, stream: int, first: int, count: int) -> np.ndarray:
        """Frames `first` to `first + count - 1`, one after the other."""
        start = int(self._places[stream][DATA_AT])
        begin, end = self.offset(stream)[[first, first + count]].tolist()
        return self._mapped[start + begin : start + end]

    def check(self, *, source: str) -> None:
        """That the offset tables are sound; BadShard otherwise."""
        for number, (stream, place) in enumerate(zip(STREAMS, self._places, strict=True)):
            data_bytes = int(place[DATA_BYTES])
            end = max(int(place[OFFSETS_AT]) + 8 * (int(place[FRAMES]) + 1), int(place[DATA_AT]) + data_bytes)
            if end > len(self._mapped):
                raise BadShard(f"{source}: /{stream} ends at byte {end} of a file of {len(self._mapped)} bytes")
            check_offsets(self.offset(number), stream=stream, data_bytes=data_bytes, source=source)


class Shard:
    """One shard file, open for reading.

    The head is read at once and the HDF5 handle is closed again; the JPEG bytes are mapped lazily, once in each
    process, so a shard may be opened before a fork or sent to another process.

    Args:
        path: an `.h5` file of the shard contract.

    Raises:
        BadShard: the file is damaged or breaks the contract.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        head = read_head(path, file_bytes=path.stat().st_size if path.is_file() else 0, source=str(path))
        self.attributes = head.attributes
        self.clips = head.clips
        self._places = head.places
        self._bytes.check(source=str(path))

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Shard({self.path.name}, clips={len(self)})"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_bytes"}

    def jpeg(self, stream: str, index: int) -> np.ndarray:
        """One JPEG as a read-only view into the mapped file.

        Args:
            stream: `rgb` or `flow`.
            index: frame number within the shard, from 0; a clip's frames start at `clips.rgb_first` or `flow_first`.

        Returns:
            uint8 [bytes].
        """
        return self._bytes.jpegs(STREAMS.index(stream), index, (0,))[0]

    def clip_bytes(self, stream: str, row: int) -> np.ndarray:
        """All JPEGs of one clip, one after the other: what its CRC is taken over. uint8 [bytes], a view."""
        first = int(getattr(self.clips, f"{stream}_first")[row])
        return self._bytes.span(STREAMS.index(stream), first, int(getattr(self.clips, f"{stream}_count")[row]))

    @cached_property
    def _bytes(self) -> _Bytes:
        with self.path.open("rb") as file:
            return _Bytes(map_file(file.fileno()), self._places)


class ShardSet:
    """All shards of one split that `index.json` names, as one list of clips.

    Shards are mapped when their bytes are first asked for, and a bounded number stays mapped. May be sent to another
    process.

    Args:
        folder: the folder of `index.json`, or another `ShardStore`.
        split: `train`, `val`, `test` or `extra`; None is all of them.
        skip_bad: a shard that cannot be read does not raise; its clips are there without key and frames.

    Raises:
        InvalidInput: no index, or no clip in that split.
        BadShard: a shard is missing, has another size than the index says, breaks the contract, or is of another
            configuration than the first.
    """

    def __init__(self, folder: Path | ShardStore, split: str | None, *, skip_bad: bool = False) -> None:
        store = FolderStore(folder) if isinstance(folder, Path) else folder
        index = store.index()
        named = index.shards if split is None else index.of_split(split)
        infos = sorted((info for info in named if info.clips), key=attrgetter("place"))
        if not infos:
            has = ", ".join(index.splits()) or "none at all; run `preprocess flow` on clips that can be decoded"
            wanted = "" if split is None else f" in split {split!r}"
            raise NoClips(f"{store.name} has no clips{wanted}; it has {has}")
        self.split = split
        self.index = index
        self.infos: list[tuple[ShardStore, ShardInfo]] = [(store, info) for info in infos]
        """Each shard: where it is, and its line of the index."""
        self._take(store.table(infos, skip_bad=skip_bad))
        if self.attributes.labels != index.labels:
            raise BadShard(
                f"{store.name}: the label names of the index are not those of its shards; run `preprocess flow` again"
            )

    def _take(self, table: SetTable) -> None:
        self.attributes: ShardAttributes = table.attributes
        """What the numbers mean; of the first shard, and the same in all."""
        self.clips: ClipTable = table.clips
        """Rows of all shards; `rgb_first` and `flow_first` count within the row's own shard."""
        self.shard_of_clip: np.ndarray = table.shard
        """int32 [clips]: index into `infos`."""
        self.row_of_clip: np.ndarray = table.row
        """int32 [clips]: number of the clip within its shard."""
        self.bad: dict[int, str] = table.bad
        """Number of a shard that could not be read to the reason; empty unless `skip_bad`."""
        self._places = table.places
        self._checked = np.zeros(len(self.infos), bool)
        self._open: OrderedDict[int, _Bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"ShardSet({self.infos[0][0].name}, split={self.split!r}, clips={len(self)}, shards={len(self.infos)})"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_open", "_lock"}}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state
        self._open, self._lock = OrderedDict(), threading.Lock()

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, from the index."""
        return self.index.labels

    def only(self, rows: np.ndarray, *, split: str) -> "ShardSet":
        """The same shards with some of the clips, in the order of `rows`; int [clips]."""
        table = SetTable(
            attributes=self.attributes,
            clips=ClipTable(**{name: getattr(self.clips, name)[rows] for name in COLUMNS}),
            shard=self.shard_of_clip[rows],
            row=self.row_of_clip[rows],
            places=self._places,
            bad=self.bad,
        )
        picked = self.__class__.__new__(self.__class__)
        picked.split, picked.index, picked.infos = split, self.index, self.infos
        picked._take(table)
        return picked

    @classmethod
    def joined(cls, sets: Sequence["ShardSet"], *, labels: tuple[str, ...]) -> "ShardSet":
        """Several sets as one, the clips of the first before those of the second and so on.

        Args:
            sets: whose numbers mean the same, see `preprocess.shards.head.same_meaning`.
            labels: names that hold all of theirs; clips get the numbers of these.
        """
        tables, shards, before = [], [], 0
        bad: dict[int, str] = {}
        for one in sets:
            # one more, so that -1, no label, stays itself
            renumbered = np.array([*(labels.index(name) for name in one.labels), -1], np.int32)
            tables.append(replace(one.clips, label=renumbered[one.clips.label]))
            shards.append(one.shard_of_clip + np.int32(before))
            bad |= {before + number: reason for number, reason in one.bad.items()}
            before += len(one.infos)
        table = SetTable(
            attributes=sets[0].attributes,
            clips=ClipTable.concatenate(tables),
            shard=np.concatenate(shards),
            row=np.concatenate([one.row_of_clip for one in sets]),
            places=np.concatenate([one._places for one in sets]),
            bad=bad,
        )
        joined = cls.__new__(cls)
        joined.split = sets[0].split if len({one.split for one in sets}) == 1 else None
        joined.index = replace(sets[0].index, labels=labels)
        joined.infos = [info for one in sets for info in one.infos]
        joined._take(table)
        return joined

    def jpeg(self, stream: str, clip: int, frame: int) -> np.ndarray:
        """Frame (or flow field) `frame` of clip `clip`, as uint8 [bytes], a view without a copy."""
        return self.jpegs(stream, clip, (frame,))[0]

    def jpegs(self, stream: str, clip: int, frames: Sequence[int]) -> list[np.ndarray]:
        """Frames (or flow fields) of one clip, each uint8 [bytes], a view without a copy.

        Raises:
            BadShard: the clip's shard cannot be read (any more).
        """
        first = int(getattr(self.clips, f"{stream}_first")[clip])
        return self._bytes_of(clip).jpegs(STREAMS.index(stream), first, frames)

    def clip_bytes(self, stream: str, clip: int) -> np.ndarray:
        """All JPEGs of one clip, one after the other: what its CRC is taken over. uint8 [bytes], a view.

        Raises:
            BadShard: the clip's shard cannot be read (any more).
        """
        first = int(getattr(self.clips, f"{stream}_first")[clip])
        count = int(getattr(self.clips, f"{stream}_count")[clip])
        return self._bytes_of(clip).span(STREAMS.index(stream), first, count)

    def source(self, clip: int) -> str:
        """The shard of a clip, for messages."""
        store, info = self.infos[int(self.shard_of_clip[clip])]
        return store.source(info)

    def key(self, clip: int) -> str:
        """The key of a clip; empty if its shard could not be read."""
        return self.clips.name(clip)

    def _bytes_of(self, clip: int) -> _Bytes:
        number = int(self.shard_of_clip[clip])
        with self._lock:
            found = self._open.get(number)
            if found is not None:
                self._open.move_to_end(number)
                return found
        if number in self.bad:
            raise BadShard(self.bad[number])
        store, info = self.infos[number]
        # without the lock: a shard that is far away must not keep those that are near waiting
        opened = _Bytes(store.map(info), self._places[number])
        if not self._checked[number]:
            opened.check(source=store.source(info))
            self._checked[number] = True
        with self._lock:
            self._open[number] = opened
            while len(self._open) > store.keeps_open:
                self._open.popitem(last=False)
        return opened
