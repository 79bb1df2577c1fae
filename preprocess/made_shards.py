"""Which shards of a plan are there already, and whole.

In a folder each one is read and checked, byte by byte, by the worker that would make it otherwise. At an address a
journal says what was uploaded, and the size of each object whether it is there still.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from preprocess.errors import BadShard
from preprocess.jsonl import append_line, read_lines
from preprocess.plan import PlannedShard
from preprocess.shards.index import INDEX_NAME, Index, ShardInfo
from preprocess.shards.layout import ShardAttributes
from preprocess.shards.verify import verify_shard
from preprocess.status.work import Work
from preprocess.target import ObjectTarget

JOURNAL_NAME = "made.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What is known of a shard that is there now."""

    info: ShardInfo
    failed: dict[str, str]
    """Key to reason, of the clips that are not in it."""
    work: Work = field(default_factory=Work)
    """That it took to make it."""
    kept: bool = False
    """It was made before and left as it is."""
    spoilt: str = ""
    """What is wrong with the file that it replaces."""


@dataclass(frozen=True, kw_only=True)
class FolderCheck:
    """Reads shards in a folder that all workers see, and compares them with the plan; can be sent to workers."""

    folder: Path
    """Absolute."""
    attributes: ShardAttributes
    """What they have to say of themselves, `failed` apart."""
    sha256: Mapping[str, str]
    """By name, of the shards that an index speaks of."""
    retry_failed: bool
    """A shard without all of its clips counts as none."""

    @classmethod
    def of(cls, folder: Path, attributes: ShardAttributes, *, retry_failed: bool) -> "FolderCheck":
        """For the shards of a plan that the folder has adopted."""
        sha256 = _indexed(folder)
        return cls(folder=folder.absolute(), attributes=attributes, sha256=sha256, retry_failed=retry_failed)

    def names(self) -> frozenset[str]:
        """Of all that is in the folder."""
        return frozenset(path.name for path in self.folder.iterdir())

    def find(self, shard: PlannedShard) -> ShardResult | None:
        """The file of a planned shard, read from its first byte to its last; None where there is none that counts.

        Raises:
            BadShard: it is damaged, is not what is planned, or not what the index says.
            EnvironmentProblem: this user may not read it.
        """
        path = self.folder / shard.name
        if not path.exists():
            return None
        head, info = verify_shard(path)
        failed = head.attributes.failed
        keys = {*(key.decode() for key in head.clips.key), *failed}
        if replace(head.attributes, failed={}) != self.attributes or keys != {clip.key for clip in shard.clips}:
            raise BadShard(f"{path} does not hold what is planned for it")
        if self.sha256.get(shard.name, info.sha256) != info.sha256:
            raise BadShard(f"{path} is not what {INDEX_NAME} says")
        if failed and self.retry_failed:
            return None
        return ShardResult(info=info, failed=failed, kept=True)


class Journal:
    """What was made at an address: each shard that was written down, where an object of its size is there still.

    Args:
        target: the address.
        fingerprint: of the plan.
        retry_failed: a shard without all of its clips counts as none.
    """

    def __init__(self, target: ObjectTarget, *, fingerprint: str, retry_failed: bool) -> None:
        self._target = target
        self._path = target.folder / JOURNAL_NAME
        self._fingerprint = fingerprint
        self._retry_failed = retry_failed

    def find(self, shard: PlannedShard) -> ShardResult | None:
        """What an earlier run made of it, as far as that is known without reading it."""
        result = self._known.get(shard.name)
        if result is None or (result.failed and self._retry_failed):
            return None
        if (size := self._sizes.get(shard.name)) != result.info.bytes:
            place = f"{self._target.name}/{shard.name}"
            found = "is missing" if size is None else f"has {size} bytes"
            logger.warning("made again: %s %s, %s says %d bytes", place, found, JOURNAL_NAME, result.info.bytes)
            return None
        return result

    def add(self, result: ShardResult) -> None:
        """One more is published.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        line = {"plan": self._fingerprint, "info": asdict(result.info), "failed": result.failed}
        append_line(self._path, line)

    @cached_property
    def _known(self) -> Mapping[str, ShardResult]:
        lines = read_lines(self._path, parse=_entry)
        return {result.info.name: result for fingerprint, result in lines if fingerprint == self._fingerprint}

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return self._target.store.sizes()


def _indexed(folder: Path) -> Mapping[str, str]:
    """Name to SHA-256, as an earlier run of the same plan wrote them; nothing if it did not come to its end."""
    if not (folder / INDEX_NAME).is_file():
        return {}
    try:
        return {info.name: info.sha256 for info in Index.read(folder).shards}
    except BadShard as error:
        logger.warning("written again: %s", error)
        return {}


def _entry(fields: dict[str, Any]) -> tuple[str, ShardResult]:
    info = ShardInfo(**fields["info"])
    return fields["plan"], ShardResult(info=info, failed=dict(fields["failed"]), kept=True)
