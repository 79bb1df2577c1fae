"""Options that several configurations have in common: where a network runs, and how shards are read."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipelines
from pipelines.cache import CACHE_BYTES
from pipelines.feed_config import ON_BAD_SHARD
from preprocess.errors import InvalidInput

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
LOADERS = ("auto", *pipelines.LOADERS)

_GB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a network runs."""

    device: str = "auto"
    """`cuda`, `cpu`, or `auto`: a GPU where there is one."""
    precision: str = "auto"
    """`bf16` or `fp16` (autocast; weights stay float32), `fp32`, or `auto`: on a GPU bf16, or fp16 if it lacks bf16."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How shards are read, by each process."""

    clips: Path | None = None
    """List with the columns key, label and split, such as `fold1.csv` of `preprocess index`: its clips are read, from
    the shards of all splits."""
    loader: str = "auto"
    """`dali`, `torch`, or `auto`: DALI where it is installed."""
    threads: int = 4
    """CPU threads that decode."""
    on_bad_shard: str = "raise"
    """What a shard or clip that cannot be read does: `raise`, or `skip` it, counted and named."""
    cache: Path | None = None
    """Local folder for copies of shards that are far away."""
    cache_gb: float = CACHE_BYTES / _GB
    """Most that the folder may hold, in units of 2^30 bytes."""

    def __post_init__(self) -> None:
        check_choice("loader", self.loader, LOADERS)
        check_choice("on_bad_shard", self.on_bad_shard, ON_BAD_SHARD)
        check_at_least("threads", self.threads, 1)
        # nan compares as nothing, and so is refused
        if not 0 < self.cache_gb < math.inf:
            raise InvalidInput(f"cache_gb must be positive, got {self.cache_gb}")

    @property
    def cache_bytes(self) -> int:
        """Most that the folder of copies may hold."""
        return int(self.cache_gb * _GB)

    @property
    def loader_options(self) -> dict[str, Any]:
        """These options as `pipelines.open_loader` takes them for clips that are open."""
        return {
            "backend": self.loader,
            "threads": self.threads,
            "on_bad_shard": self.on_bad_shard,
            "cache_bytes": self.cache_bytes,
        }


def fold_of(clips: Path | None) -> int | None:
    """Official split of UCF-101 or HMDB-51 that a list is of: told from `fold1.csv` to `fold3.csv`, else None."""
    named = None if clips is None else re.fullmatch(r"fold([1-3])\.csv", clips.name)
    return None if named is None else int(named[1])


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not in the list.

    Raises:
        InvalidInput: quoting it and the list.
    """
    if value not in allowed:
        raise InvalidInput(f"{name} {value!r} is unknown; use one of {', '.join(allowed)}")


def check_at_least(name: str, value: int | None, lowest: int) -> None:
    """Refuse a number that is too small; None, not given, passes.

    Raises:
        InvalidInput: quoting it and the lowest allowed.
    """
    if value is not None and value < lowest:
        raise InvalidInput(f"{name} must be at least {lowest}, got {value}")


def check_not_read(out: Path, *inputs: Path | None) -> None:
    """Refuse to write in place of a file that is read.

    Raises:
        InvalidInput: quoting it.
    """
    if any(path is not None and path.exists() and out.exists() and out.samefile(path) for path in inputs):
        raise InvalidInput(f"{out} is the file to read; write to another one")
