"""Where a loader stands, so that another can go on from there, and whether that other one reads the same."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.sampling import Sampler, Share
from preprocess.errors import InvalidInput, KineflowError
from preprocess.shards import ShardInfo, ShardSet, ShardStore

STATE_VERSION = 3

_ALL = "all"
_HASH = 16
"""Hexadecimal digits of a shard's sha256 that a state holds."""
_NAMED = 3

_IN_COMMON = ("seed", "streams", "frames", "crop", "training", "flip", "windows", "crops", "balanced", "shuffle_shards")
"""Fields of `FeedConfig` that decide what a position looks like."""

ShardStates = dict[str, tuple[str, str]]
"""Name of each shard to the start of its sha256 and its clips: `all`, or a bit a row, packed, in hexadecimal."""


class ResumePoint:
    """States of one loader.

    Args:
        shards: that it reads.
        sampler: its plan.
        shares: the data sets in `shards`.
    """

    def __init__(self, shards: ShardSet, sampler: Sampler, *, shares: Sequence[Share]) -> None:
        self._shards = shards
        self._sampler = sampler
        self._saved: dict[str, Any] = {
            "version": STATE_VERSION,
            **{name: getattr(sampler.config, name) for name in _IN_COMMON},
            "streams": sorted(sampler.config.streams),
            "weights": [float(share.weight) for share in shares],
            "clips_per_step": sampler.config.clips_per_step,
            "num_shards": sampler.config.num_shards,
            "shards": shard_states(shards),
        }

    def state(self, *, epoch: int, batch: int) -> dict[str, Any]:
        """The state of a loader whose next batch is `batch` of `epoch`; plain numbers, strings, lists and dicts."""
        return {"epoch": epoch, "batch": batch, **self._saved}

    def position(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """Epoch and batch of a saved state.

        Raises:
            InvalidInput: it is of another version, is malformed, or is not of a loader like this one.
        """
        version = state.get("version") if isinstance(state, Mapping) else None
        if version != STATE_VERSION:
            raise InvalidInput(
                f"loader state has version {version!r}, this loader knows {STATE_VERSION}; go on with the "
                f"version of kineflow that saved it, or start at the beginning of an epoch"
            )
        self._refuse_different(state, (*_IN_COMMON, "weights"), "use the values of then, or start anew")
        refuse_other_shards(state.get("shards"), self._shards)
        epoch, batch = state.get("epoch"), state.get("batch")
        if type(epoch) is not int or type(batch) is not int or epoch < 0 or batch < 0:
            raise InvalidInput(f"loader state stands at epoch {epoch!r}, batch {batch!r}; it is damaged")
        if batch == 0:
            return epoch, 0
        inside = ("clips_per_step", "num_shards") if self._sampler.config.windows > 1 else ("clips_per_step",)
        self._refuse_different(
            state,
            inside,
            "inside an epoch the ranks must read as many clips in a step; use as many ranks and as large batches as "
            "then, or a state of an epoch's start",
        )
        last = self._sampler.most_batches
        if batch > last:
            raise InvalidInput(f"loader state stands at epoch {epoch}, batch {batch} of {last}; it is damaged")
        # a rank with fewer batches than the one that saved is through with the epoch
        return epoch, min(batch, len(self._sampler))

    def _refuse_different(self, state: Mapping[str, Any], names: Sequence[str], remedy: str) -> None:
        listed = "; ".join(
            f"{name} is {state.get(name)!r} there and {self._saved[name]!r} here"
            for name in names
            if state.get(name) != self._saved[name]
        )
        if listed:
            raise InvalidInput(f"loader state does not fit: {listed}; {remedy}")


def shard_states(shards: ShardSet) -> ShardStates:
    """What a state has to hold to name a difference later; some 60 bytes a shard."""
    stores = list(dict.fromkeys(id(store) for store, _ in shards.infos))
    starts = np.searchsorted(shards.shard_of_clip, np.arange(len(shards.infos) + 1))
    states: ShardStates = {}
    for number, (store, info) in enumerate(shards.infos):
        rows = shards.row_of_clip[starts[number] : starts[number + 1]]
        if not len(rows):
            continue
        # two data sets of a mixture name their shards alike
        name = f"{stores.index(id(store))}/{info.name}" if len(stores) > 1 else info.name
        states[name] = (info.sha256[:_HASH], _ALL if len(rows) == info.clips else _packed(rows, info))
    return states


def refuse_other_shards(theirs: Any, shards: ShardSet) -> None:
    """Make sure that a state was saved with these very shards and clips.

    Args:
        theirs: `shard_states` of then, as it comes out of a checkpoint.
        shards: of now.

    Raises:
        InvalidInput: they differ; names shards and clips.
    """
    there = _parsed(theirs)
    here = shard_states(shards)
    if there == here:
        return
    with_clips = [shards.infos[number] for number in np.unique(shards.shard_of_clip)]
    by_name = dict(zip(here, with_clips, strict=True))
    differences = [
        *_listed("is there and not here", "are there and not here", sorted(there.keys() - here.keys())),
        *_listed("is here and not there", "are here and not there", sorted(here.keys() - there.keys())),
    ]
    both = sorted(there.keys() & here.keys())
    if changed := [name for name in both if there[name][0] != here[name][0]]:
        was, now = there[changed[0]][0], here[changed[0]][0]
        differences.append(
            f"{len(changed)} of {len(both)} shards have other bytes, the first {changed[0]}: sha256 {was}... there, "
            f"{now}... here"
        )
    gone: list[str] = []
    new: list[str] = []
    for name in both:
        if there[name][0] == here[name][0] and there[name][1] != here[name][1]:
            store, info = by_name[name]
            before, after = (_keys(store, info, found[name][1]) for found in (there, here))
            gone += [key for key in before if key not in after]
            new += [key for key in after if key not in before]
    differences += _listed("is there and not here", "are there and not here", gone, what="clip")
    differences += _listed("is here and not there", "are here and not there", new, what="clip")
    raise InvalidInput(
        f"loader state does not fit: {'; '.join(differences)}; open the loader with the shards and clips that it was "
        f"saved with, or start a new run"
    )


def _parsed(theirs: Any) -> ShardStates:
    states: ShardStates = {}
    for name, found in theirs.items() if isinstance(theirs, Mapping) else [("", theirs)]:
        match found:
            case (str(sha256), str(clips)) if clips == _ALL or re.fullmatch(r"([0-9a-f]{2})+", clips):
                states[name] = (sha256, clips)
            case _:
                raise InvalidInput(
                    f"loader state says {found!r:.60} of shard {name!r}; it is damaged, start from an older checkpoint"
                )
    return states


def _listed(one: str, many: str, names: list[str], *, what: str = "shard") -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return [f"{what} {shown} {one}" if len(names) == 1 else f"{len(names)} {what}s {many}: {shown}"]


def _packed(rows: np.ndarray, info: ShardInfo) -> str:
    bits = np.zeros(info.clips, bool)
    bits[rows] = True
    return np.packbits(bits).tobytes().hex()


def _keys(store: ShardStore, info: ShardInfo, packed: str) -> list[str]:
    """Keys of the clips that a state names; their numbers if the shard cannot be read now."""
    bits = np.ones(info.clips, bool)
    if packed != _ALL:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))[: info.clips].astype(bool)
    rows = np.flatnonzero(bits)
    try:
        table = store.table([info], skip_bad=False)
    except KineflowError:
        return [f"{row} of {info.name}" for row in rows]
    return list(map(table.clips.name, rows.tolist()))
