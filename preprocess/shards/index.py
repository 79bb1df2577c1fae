"""`index.json`: the list of shards that make a data set, written last; readers open only what it names."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preprocess.errors import BadShard, InvalidInput
from preprocess.paths import publish
from preprocess.shards.layout import FORMAT, SPLITS, VERSION

INDEX_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard of the index."""

    name: str
    """File name beside the index."""
    bytes: int
    sha256: str
    clips: int
    """Rows of its clip table."""

    @property
    def split(self) -> str:
        """One of `SPLITS`, from the name."""
        return self.name.split("-", 1)[0]


@dataclass(frozen=True, kw_only=True)
class Index:
    """What `index.json` holds."""

    config: dict[str, Any]
    """The configuration that made the shards."""
    labels: tuple[str, ...]
    """Label names; a clip's label is an index into them."""
    shards: tuple[ShardInfo, ...] = field(default=())

    def write(self, folder: Path) -> None:
        """Publish as `folder/index.json`; equal indexes give equal bytes."""
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        publish(
            folder / INDEX_NAME,
            (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(),
        )

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """Read `folder/index.json`.

        Raises:
            InvalidInput: no such folder or no index in it: the run that makes it has not finished.
            BadShard: not an index, a newer version, or a shard name that leaves the folder.
        """
        path = folder / INDEX_NAME
        if not path.is_file():
            raise InvalidInput(
                f"{path} does not exist; `preprocess flow` writes it last, run it (again) with --out {folder}"
            )
        try:
            text = path.read_bytes()
        except OSError as error:
            raise BadShard(f"{path} cannot be read: {error.strerror}") from error
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: bytes, *, source: str) -> "Index":
        """Take the content of an `index.json` apart.

        Args:
            text: UTF-8.
            source: its name in messages.

        Raises:
            BadShard: not an index, a newer version, or a shard name that leaves the folder.
        """
        try:
            document = json.loads(text.decode())
            if document["format"] != FORMAT:
                raise BadShard(f"{source} is not an index of {FORMAT}")
            if document["version"] != VERSION:
                raise BadShard(
                    f"{source} has version {document['version']!r}, this reader knows {VERSION}; upgrade kineflow"
                )
            shards = tuple(ShardInfo(**entry) for entry in document["shards"])
            index = cls(config=document["config"], labels=tuple(document["labels"]), shards=shards)
        except (ValueError, KeyError, TypeError) as error:
            raise BadShard(f"{source} is damaged ({error!r}); run `preprocess flow` again to rebuild it") from error
        for shard in shards:
            if "/" in shard.name or shard.name.startswith(".") or shard.split not in SPLITS:
                raise BadShard(f"{source} names a shard {shard.name!r}; expected SPLIT-NUMBER-of-COUNT.h5")
        return index

    def of_split(self, split: str) -> tuple[ShardInfo, ...]:
        """The shards of one split, by number."""
        return tuple(sorted((s for s in self.shards if s.split == split), key=lambda shard: shard.name))

    def splits(self) -> list[str]:
        """Splits that have at least one clip."""
        return [split for split in SPLITS if clip_count(self.of_split(split))]


def clip_count(shards: Iterable[ShardInfo]) -> int:
    """Clips in all of `shards`."""
    return sum(shard.clips for shard in shards)


def shard_info(path: Path, *, clips: int) -> ShardInfo:
    """The index line of a shard file on disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardInfo(name=path.name, bytes=path.stat().st_size, sha256=digest, clips=clips)
