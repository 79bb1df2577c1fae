"""Which clips a loader reads: shards of one place or of several, all clips of a split or those of a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.cache import CACHE_BYTES, ShardCache
from pipelines.clip_list import choose, read_clip_list
from pipelines.sampling import Share
from pipelines.table_cache import cached_table
from preprocess.address import is_address, shown
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import ShardInfo, ShardSet, ShardStore
from preprocess.shards.head import same_meaning
from preprocess.shards.store import FolderStore, SetTable


@dataclass(frozen=True, kw_only=True)
class Portion:
    """One data set of a mixture."""

    shards: Path | str
    """Folder or address of `index.json`."""
    weight: float = 1.0
    """Share of the batches, relative to the other portions; in evaluation it means nothing."""
    split: str | None = None
    """The loader's if not given."""
    clips: Path | str | None = None
    """See `open_clips`."""


Shards = Path | str | Portion | Sequence[Portion | tuple[Path | str, float]]
"""One place, or a mixture: portions, or pairs of place and weight."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where copies of far shards go."""

    cache: Path | str | None = None
    """Local folder for them, and for the clip tables of local shards; needed for addresses."""
    cache_bytes: int = CACHE_BYTES
    """Most that the folder may hold."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the fsspec file system, such as credentials."""


@dataclass(frozen=True, kw_only=True)
class OpenClips:
    """The clips of a loader."""

    shards: ShardSet
    shares: tuple[Share, ...]
    """The data sets in `shards`, one after the other."""
    missing: tuple[str, ...]
    """Keys of a list that no shard has."""
    far: bool
    """Whether any of the shards is copied before it is read."""


def open_clips(
    shards: Shards,
    *,
    split: str,
    clips: Path | str | None = None,
    skip_bad: bool = False,
    storage: Storage = Storage(),
) -> OpenClips:
    """Open shards.

    Args:
        shards: see `Shards`. The label names of a mixture are those of its portions, the first's first.
        split: `train`, `val`, `test` or `extra`.
        clips: a CSV with columns key, label and split: read these clips of that split, from shards of any split.
        skip_bad: note a shard that cannot be read instead of raising. A list chooses by key, for which all shards have
            to be readable, so with `clips` it raises all the same.
        storage: of copies.

    Raises:
        InvalidInput: no such shards, split or clips, or portions that do not go together.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: a library, the cache folder or space is not there.
    """
    given = [shards] if isinstance(shards, Path | str | Portion) else list(shards)
    if not given:
        raise InvalidInput("shards is empty; give a folder, an address, or pairs of these and a weight")
    if len(given) > 1 and clips is not None:
        raise InvalidInput(f"clips={str(clips)!r} is of one data set, shards of {len(given)}; give clips in a Portion")
    sets, shares, far = [], [], False
    missing: list[str] = []
    for portion in map(_portion, given):
        store = _open_store(portion.shards, storage)
        far |= not isinstance(store, FolderStore)
        part, lacking = _open_one(store, split=portion.split or split, clips=portion.clips or clips, skip_bad=skip_bad)
        sets.append(part)
        shares.append(Share(name=store.name, clips=len(part), weight=portion.weight))
        missing += lacking
    if len(sets) > 1:
        same_meaning((share.name, part.attributes) for share, part in zip(shares, sets, strict=True))
        labels = tuple(dict.fromkeys(name for part in sets for name in part.labels))
        sets = [ShardSet.joined(sets, labels=labels)]
    return OpenClips(shards=sets[0], shares=tuple(shares), missing=tuple(missing), far=far)


def _portion(given: Path | str | Portion | tuple[Path | str, float]) -> Portion:
    if isinstance(given, Portion):
        return given
    if isinstance(given, Path | str):
        return Portion(shards=given)
    try:
        place, weight = given
        return Portion(shards=place, weight=float(weight))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{given!r} is no part of a mixture; give a pair of shards and weight, or a Portion"
        ) from error


def _open_store(place: Path | str, storage: Storage) -> ShardStore:
    if is_address(place):
        from pipelines.remote import RemoteStore

        if storage.cache is None:
            raise InvalidInput(
                f"shards at {shown(place)} are copied before they are read; give cache=FOLDER (--cache FOLDER) on a "
                f"local disk, and cache_bytes, the most that it may hold"
            )
        cache = ShardCache(Path(storage.cache), max_bytes=storage.cache_bytes)
        return RemoteStore(str(place), cache, storage_options=storage.options)
    if storage.cache is None:
        return FolderStore(Path(place))
    return _FolderWithTables(Path(place), ShardCache(Path(storage.cache), max_bytes=storage.cache_bytes))


class _FolderWithTables(FolderStore):
    """A folder whose clip tables are kept elsewhere."""

    def __init__(self, folder: Path, cache: ShardCache) -> None:
        super().__init__(folder)
        self._cache = cache

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        read = partial(super().table, infos, skip_bad=skip_bad)
        try:
            for info in infos:
                self._check(info)
        except BadShard:
            return read()
        return cached_table(self._cache, infos, read)


def _open_one(
    store: ShardStore, *, split: str, clips: Path | str | None, skip_bad: bool
) -> tuple[ShardSet, tuple[str, ...]]:
    if clips is None:
        return ShardSet(store, split, skip_bad=skip_bad), ()
    listed = read_clip_list(Path(clips), split=split)
    return choose(ShardSet(store, None), listed)
