"""Which shards of a plan are there already, and whole.

In a folder each one is verified, byte by byte. At an address a journal says what was uploaded, and the size of each
object whether it is there still.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from preprocess.errors import BadShard
from preprocess.extract import StageSeconds
from preprocess.jsonl import append_line, read_lines
from preprocess.plan import Plan, PlannedShard
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo, shard_info
from preprocess.shards.layout import ShardAttributes
from preprocess.shards.verify import verify_shard
from preprocess.target import ObjectTarget, Target

JOURNAL_NAME = "made.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a worker says of a shard it made."""

    info: ShardInfo
    failed: dict[str, str]
    """Key to reason, of the clips that are not in it."""
    seconds: StageSeconds


class MadeShards(Protocol):
    """The shards of a plan that are published."""

    def find(self, shard: PlannedShard) -> ShardResult | None:
        """What an earlier run made of it, when it is there and right."""

    def add(self, result: ShardResult) -> None:
        """One more is published.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """


def made_shards(target: Target, *, plan: Plan, attributes: ShardAttributes) -> MadeShards:
    """Those of a plan that has been adopted."""
    if isinstance(target, ObjectTarget):
        return _AtAddress(target, fingerprint=plan.fingerprint)
    return _InFolder(target.folder, attributes)


class _InFolder:
    """What is in the folder counts."""

    def __init__(self, folder: Path, attributes: ShardAttributes) -> None:
        self._folder = folder
        self._attributes = attributes

    def find(self, shard: PlannedShard) -> ShardResult | None:
        """See `MadeShards`; and it has to be what an index says, if there is one."""
        path = self._folder / shard.name
        if not path.exists():
            return None
        try:
            found = verify_shard(path)
        except BadShard as error:
            logger.warning("made again: %s", error)
            return None
        keys = [key.decode() for key in found.clips.key]
        failed = found.attributes.failed
        planned = {clip.key for clip in shard.clips}
        if replace(found.attributes, failed={}) != self._attributes or {*keys, *failed} != planned:
            logger.warning("made again: %s does not hold what is planned for it", path)
            return None
        info = shard_info(path, clips=len(keys))
        if self._indexed.get(shard.name, info) != info:
            logger.warning("made again: %s is not what %s says", path, INDEX_NAME)
            return None
        return ShardResult(info=info, failed=failed, seconds=StageSeconds())

    def add(self, result: ShardResult) -> None:
        """See `MadeShards`; that it is there says it all."""

    @cached_property
    def _indexed(self) -> Mapping[str, ShardInfo]:
        """What an earlier run of the same plan wrote of its shards; nothing if it did not come to its end."""
        if not (self._folder / INDEX_NAME).is_file():
            return {}
        try:
            return {info.name: info for info in Index.read(self._folder).shards}
        except BadShard as error:
            logger.warning("written again: %s", error)
            return {}


class _AtAddress:
    """What the journal says counts, where an object of the same size is there."""

    def __init__(self, target: ObjectTarget, *, fingerprint: str) -> None:
        self._target = target
        self._path = target.folder / JOURNAL_NAME
        self._fingerprint = fingerprint

    def find(self, shard: PlannedShard) -> ShardResult | None:
        """See `MadeShards`."""
        result = self._known.get(shard.name)
        if result is None:
            return None
        if (size := self._sizes.get(shard.name)) != result.info.bytes:
            place = f"{self._target.name}/{shard.name}"
            found = "is missing" if size is None else f"has {size} bytes"
            logger.warning("made again: %s %s, %s says %d bytes", place, found, JOURNAL_NAME, result.info.bytes)
            return None
        return result

    def add(self, result: ShardResult) -> None:
        """See `MadeShards`."""
        line = {"plan": self._fingerprint, "info": asdict(result.info), "failed": result.failed}
        append_line(self._path, line)

    @cached_property
    def _known(self) -> Mapping[str, ShardResult]:
        lines = read_lines(self._path, parse=_entry)
        return {result.info.name: result for fingerprint, result in lines if fingerprint == self._fingerprint}

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return self._target.store.sizes()


def _entry(fields: dict[str, Any]) -> tuple[str, ShardResult]:
    info = ShardInfo(**fields["info"])
    return fields["plan"], ShardResult(info=info, failed=dict(fields["failed"]), seconds=StageSeconds())
