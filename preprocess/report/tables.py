"""What the tables of all shards say, read whole and without decoding anything."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from preprocess.errors import BadShard
from preprocess.report.content import ClipName, Problem, Twins
from preprocess.shards import Index, Shard, ShardSet
from preprocess.shards.index import INDEX_NAME
from preprocess.shards.layout import SPLITS, STREAMS


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A data set of shards, and what is known of every clip."""

    shards: ShardSet
    """Of all splits."""
    index_sha256: str
    usable: np.ndarray
    """int64: rows of `shards` whose shard can be read, rising."""
    split: np.ndarray
    """int64 [rows of shards]: place of the clip's split in `SPLITS`."""
    bytes: dict[str, np.ndarray]
    """By stream: float64 [rows of shards], mean bytes of a JPEG of the clip."""
    failed: tuple[Problem, ...]
    """Clips that could not be made."""
    damaged: tuple[Problem, ...]
    """Shards that cannot be read."""

    def name(self, row: int) -> ClipName:
        """Which clip a row is."""
        return ClipName(
            key=self.shards.key(row), split=SPLITS[self.split[row]], label=self.label(int(self.shards.clips.label[row]))
        )

    def problem(self, row: int, error: BadShard) -> Problem:
        """A clip, and what is wrong with it."""
        name = self.name(row)
        return Problem(name=name.key, split=name.split, reason=str(error))

    def twins(self, rows: list[int]) -> Twins:
        """Some clips as one group."""
        names = tuple(self.name(row) for row in rows)
        return Twins(clips=names, crosses_splits=len({name.split for name in names}) > 1)

    @property
    def strata(self) -> np.ndarray:
        """int64 [usable clips]: a number for each class of each split, in the order of the labels, then the splits."""
        label = self.shards.clips.label[self.usable].astype(np.int64)
        # clips without a label come last
        label[label < 0] = len(self.shards.labels)
        numbers: np.ndarray = label * len(SPLITS) + self.split[self.usable]
        return numbers

    def parameters(self) -> dict[str, str]:
        """What the shards were made with, as text."""
        attributes = self.shards.attributes
        plain = {
            field.name: _plain(getattr(attributes, field.name))
            for field in fields(attributes)
            if field.name not in {"tvl1", "labels", "failed"}
        }
        return plain | {f"tvl1 {name}": _plain(value) for name, value in sorted(attributes.tvl1.items())}

    def label(self, number: int) -> str | None:
        """The name of a label; None below 0."""
        return self.shards.labels[number] if number >= 0 else None


def read_tables(folder: Path) -> Tables:
    """Read the head and the offset tables of each shard that `index.json` names.

    Raises:
        InvalidInput: no index, or no clip in any shard.
        BadShard: the index is damaged, or no shard can be read.
    """
    shards = ShardSet(folder, None, skip_bad=True)
    reasons = {shards.infos[number][1].name: reason for number, reason in shards.bad.items()}
    number_of = {info.name: number for number, (_, info) in enumerate(shards.infos)}
    mean_bytes = {stream: np.zeros(len(shards)) for stream in STREAMS}
    failed: list[Problem] = []
    # those without a clip too: they tell which clips failed
    for info in sorted(shards.index.shards, key=lambda info: info.place):
        if info.name in reasons:
            continue
        try:
            shard = Shard(folder / info.name)
        except BadShard as error:
            reasons[info.name] = str(error)
            continue
        failed += [
            Problem(name=key, split=info.split, reason=reason)
            for key, reason in sorted(shard.attributes.failed.items())
        ]
        rows = np.flatnonzero(shards.shard_of_clip == number_of.get(info.name, -1))
        for stream in STREAMS:
            counts = getattr(shard.clips, f"{stream}_count")
            sizes = [shard.clip_bytes(stream, row).size for row in range(len(shard))]
            mean_bytes[stream][rows] = np.array(sizes) / counts
    bad_numbers = [number_of[name] for name in reasons if name in number_of]
    split_of_shard = np.array([SPLITS.index(info.split) for _, info in shards.infos])
    return Tables(
        shards=shards,
        index_sha256=hashlib.sha256((folder / INDEX_NAME).read_bytes()).hexdigest(),
        usable=np.flatnonzero(~np.isin(shards.shard_of_clip, bad_numbers)),
        split=split_of_shard[shards.shard_of_clip],
        bytes=mean_bytes,
        failed=tuple(failed),
        damaged=tuple(_damage(shards.index, folder, name, reason) for name, reason in sorted(reasons.items())),
    )


def _plain(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _damage(index: Index, folder: Path, name: str, reason: str) -> Problem:
    split = next(info.split for info in index.shards if info.name == name)
    # where the folder lies says nothing of the data set, and would make two reports of it differ
    return Problem(name=name, split=split, reason=reason.replace(f"{folder}/", ""))
