"""What a run was asked for: `list.csv` (every wanted clip) and `list.json` (which lists, their hashes, refused rows).

Written before the first download, so that a folder of clips can be held against what it should hold at any time.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

from preprocess.annotations import Clip, ClipList, ListSource, RefusedRow, read_kinetics
from preprocess.collector import collector_paused
from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.typed_json import read_document

LIST_NAME = "list.csv"
LIST_INFO_NAME = "list.json"
_FORMAT = "kineflow-list"
_VERSION = 1
_ROWS_AT_ONCE = 10_000  # made into bytes, so that a long list is never in memory as text


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All that a folder of clips should hold."""

    sources: tuple[ListSource, ...]
    dataset: str | None
    """Label table that the labels were matched to, such as `kinetics400`; None for a list of one's own."""
    clips: tuple[Clip, ...]
    """Sorted by key."""
    refused: tuple[RefusedRow, ...]

    @property
    def keys_sha256(self) -> str:
        """sha256 over the sorted keys, a newline after each: equal for two people who want the same clips."""
        return hash_keys(clip.key for clip in self.clips)

    @collector_paused()
    def write(self, folder: Path) -> None:
        """Publish `list.csv` and then `list.json`."""
        digest = hashlib.sha256()
        publish(folder / LIST_NAME, _hashed(_csv(self.clips), digest))
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "lists": [asdict(source) for source in self.sources],
            "dataset": self.dataset,
            "clips": len(self.clips),
            "keys_sha256": self.keys_sha256,
            "list_sha256": digest.hexdigest(),
        }
        publish(folder / LIST_INFO_NAME, _json(document, self.refused))

    @classmethod
    @collector_paused()
    def read(cls, folder: Path) -> "Wanted | None":
        """What an earlier run wrote; None when there was none, as in a folder made by hand.

        The clips' `line` and `list_name` are those of `list.csv`.

        Raises:
            InvalidInput: damaged, of a newer version, or the two files are not of one run.
        """
        path = folder / LIST_INFO_NAME
        if not path.is_file():
            return None
        remedy = "run `preprocess download` again to rebuild it"
        info = read_document(_Info, path, format_=_FORMAT, version=_VERSION, name="list's description", remedy=remedy)
        listed = read_kinetics(folder / LIST_NAME, unlabelled=True)
        if listed.sources[0].sha256 != info.list_sha256:
            raise InvalidInput(
                f"{folder / LIST_NAME} is not the list that {path} was written with; "
                "run `preprocess download` again to rebuild both"
            )
        return cls(sources=info.lists, dataset=info.dataset, clips=listed.clips, refused=info.refused)


@dataclass(frozen=True, kw_only=True)
class _Info:
    """`list.json`, as far as it is read."""

    lists: tuple[ListSource, ...]
    dataset: str | None
    list_sha256: str
    refused: tuple[RefusedRow, ...]


@collector_paused()
def wanted_of(listed: ClipList, clips: Iterable[Clip]) -> Wanted:
    """What `clips`, selected from `listed`, amount to."""
    return Wanted(
        sources=listed.sources,
        dataset=listed.dataset,
        clips=tuple(sorted(clips, key=attrgetter("key"))),
        refused=listed.refused,
    )


def hash_keys(keys: Iterable[str]) -> str:
    """sha256 over sorted keys, a newline after each."""
    digest, ordered = hashlib.sha256(), iter(sorted(keys))
    while some := list(islice(ordered, _ROWS_AT_ONCE)):
        digest.update("".join(f"{key}\n" for key in some).encode())
    return digest.hexdigest()


def _csv(clips: Sequence[Clip]) -> Iterator[bytes]:
    yield b"label,youtube_id,time_start,time_end,split\n"
    # a clip without a label has an empty one, which `read_kinetics(unlabelled=True)` reads as none
    cells: dict[str | None, str] = {None: ""}
    for label in {clip.label for clip in clips if clip.label is not None}:
        cells[label] = _cell(label)
    rows = (f"{cells[c.label]},{c.youtube_id},{c.time_start},{c.time_end},{c.split}\n" for c in clips)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield "".join(some).encode()


def _cell(label: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([label])
    return text.getvalue()


def _json(document: dict[str, object], refused: Sequence[RefusedRow]) -> Iterator[bytes]:
    """The document with the refused rows, one a line."""
    yield json.dumps(document, indent=1).removesuffix("\n}").encode() + b',\n "refused": ['
    for place, row in enumerate(refused):
        yield (",\n  " if place else "\n  ").encode() + json.dumps(asdict(row)).encode()
    yield b"\n ]\n}\n"


def _hashed(pieces: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece
