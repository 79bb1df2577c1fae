"""`index.json`: the list of shards that make a data set, written last; readers open only what it names."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from preprocess.errors import BadShard, InvalidInput
from preprocess.paths import publish
from preprocess.shards.layout import FORMAT, SPLITS, VERSION

INDEX_NAME = "index.json"
_NAME = re.compile(rf"({'|'.join(SPLITS)})-[0-9]{{5,}}-of-[0-9]{{5,}}\.h5")


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

    @property
    def place(self) -> tuple[str, int, str]:
        """What orders shards by split and number; from 100,000 shards on, numbers differ in length."""
        return self.split, len(self.name), self.name


def is_shard_name(name: str) -> bool:
    """Whether a file of this name may be a shard.

    Example:
        >>> is_shard_name("train-00003-of-00016.h5"), is_shard_name("../train-00003-of-00016.h5")
        (True, False)
    """
    return _NAME.fullmatch(name) is not None


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
                f"{path} does not exist; `preprocess flow` writes it last: give its --out, or run it again"
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
            index = cls(config=dict(document["config"]), labels=tuple(document["labels"]), shards=shards)
            index._check_types()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadShard(f"{source} is damaged ({error!r}); run `preprocess flow` again to rebuild it") from error
        for shard in shards:
            if not is_shard_name(shard.name):
                raise BadShard(f"{source} names a shard {shard.name!r}; expected SPLIT-NUMBER-of-COUNT.h5")
        if len({shard.name for shard in shards}) < len(shards):
            raise BadShard(f"{source} names a shard twice; run `preprocess flow` again to rebuild it")
        return index

    def _check_types(self) -> None:
        """ValueError where a value is not of its type; the file may come from anybody."""
        if not all(isinstance(label, str) for label in self.labels):
            raise ValueError("a label is no text")
        for shard in self.shards:
            counts = (shard.bytes, shard.clips)
            if not (isinstance(shard.name, str) and isinstance(shard.sha256, str)):
                raise ValueError("a shard's name or sha256 is no text")
            # each clip takes more than a byte, so that a count cannot fill the memory of whoever believes it
            if any(type(count) is not int or count < 0 for count in counts) or shard.clips > shard.bytes:
                raise ValueError(f"{shard.name} has bytes {shard.bytes!r} and clips {shard.clips!r}")

    def of_split(self, split: str) -> tuple[ShardInfo, ...]:
        """The shards of one split, by number."""
        return tuple(sorted((s for s in self.shards if s.split == split), key=attrgetter("place")))

    def splits(self) -> list[str]:
        """Splits that have at least one clip."""
        return [split for split in SPLITS if clip_count(self.of_split(split))]


def clip_count(shards: Iterable[ShardInfo]) -> int:
    """Clips in all of `shards`."""
    return sum(shard.clips for shard in shards)
