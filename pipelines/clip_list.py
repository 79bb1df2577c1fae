"""Choosing clips by a list: a CSV with the columns key, label and split, such as `preprocess index` writes for a fold.

One set of shards then serves all folds of UCF-101 or HMDB-51, whichever split its shards are named after.
"""

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.errors import InvalidInput, NoClips
from preprocess.shards import ShardSet
from preprocess.shards.layout import SPLITS

logger = logging.getLogger(__name__)

COLUMNS = ("key", "label", "split")
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class ClipList:
    """The clips of one split of a list."""

    path: Path
    split: str
    keys: tuple[str, ...]
    labels: tuple[str, ...]
    """Name of each clip's class; empty where it has none."""


def read_clip_list(path: Path, *, split: str) -> ClipList:
    """Read one split of a list.

    Raises:
        InvalidInput: the file cannot be read, lacks a column, names a clip twice, also in two splits, or has no clip of
            that split.
    """
    lines: dict[str, int] = {}
    wanted: dict[str, str] = {}
    splits: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or [])]:
                raise InvalidInput(
                    f"{path} lacks the columns {', '.join(missing)}; it needs {','.join(COLUMNS)} in its first line, "
                    f"as `preprocess index` writes fold1.csv"
                )
            for row in rows:
                key, label, found = (row[column] for column in COLUMNS)
                if found not in SPLITS or not key or label is None:
                    raise InvalidInput(
                        f"{path}, line {rows.line_num}: {key!r},{label!r},{found!r} is no clip; split is one of "
                        f"{', '.join(SPLITS)}"
                    )
                if key in lines:
                    raise InvalidInput(f"{path}, line {rows.line_num}: {key} already stands in line {lines[key]}")
                lines[key] = rows.line_num
                splits.add(found)
                if found == split:
                    wanted[key] = label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"list {path} cannot be read: {error}") from error
    if not wanted:
        raise NoClips(f"{path} has no clips of split {split!r}; it has {', '.join(sorted(splits)) or 'none'}")
    return ClipList(path=path, split=split, keys=tuple(wanted), labels=tuple(wanted.values()))


def choose(shards: ShardSet, clips: ClipList) -> tuple[ShardSet, tuple[str, ...]]:
    """The clips of a list, in the order of the shards.

    Args:
        shards: of all splits.
        clips: to choose.

    Returns:
        The set, and the keys that no shard has; these are also logged.

    Raises:
        InvalidInput: no key is in any shard, one is in two, or the list gives a clip another label than its shard.
    """
    stored, wanted = shards.clips.key, np.array([key.encode() for key in clips.keys])
    order = np.argsort(stored, kind="stable")
    first = np.searchsorted(stored, wanted, side="left", sorter=order)
    after = np.searchsorted(stored, wanted, side="right", sorter=order)
    if len(twice := np.flatnonzero(after - first > 1)):
        rows = order[first[twice[0]] : after[twice[0]]]
        raise InvalidInput(
            f"{clips.path}: clip {clips.keys[twice[0]]} is in {shards.source(rows[0])} and in "
            f"{shards.source(rows[1])}; make the shards again with `preprocess flow`"
        )
    there = np.flatnonzero(after > first)
    missing = tuple(clips.keys[number] for number in np.flatnonzero(after == first))
    if not len(there):
        raise InvalidInput(
            f"none of the {len(wanted)} clips of split {clips.split!r} in {clips.path} is in the shards of "
            f"{shards.infos[0][0].name}, such as {missing[0]}; it has clips such as {shards.key(0)}"
        )
    if missing:
        logger.warning(
            "%d of %d clips of split %r in %s are in no shard of %s, such as %s",
            len(missing),
            len(wanted),
            clips.split,
            clips.path,
            shards.infos[0][0].name,
            ", ".join(missing[:_NAMED]),
        )
    rows = order[first[there]]
    _check_labels(shards, clips, rows=rows, numbers=there)
    return shards.only(np.sort(rows), split=clips.split), missing


def _check_labels(shards: ShardSet, clips: ClipList, *, rows: np.ndarray, numbers: np.ndarray) -> None:
    listed = [clips.labels[number] for number in numbers]
    stored = ["" if label == -1 else shards.labels[label] for label in shards.clips.label[rows].tolist()]
    wrong = [place for place in range(len(rows)) if listed[place] != stored[place]]
    if wrong:
        place = wrong[0]
        raise InvalidInput(
            f"{len(wrong)} of {len(rows)} clips have another label in {clips.path} than in the shards, such as "
            f"{shards.key(rows[place])}: {listed[place]!r} in the list, {stored[place]!r} in "
            f"{shards.source(rows[place])}; make the shards again from clips with these labels"
        )
