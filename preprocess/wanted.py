"""What a run was asked for: `list.csv` (every wanted clip) and `list.json` (which lists, their hashes, refused rows).

Written before the first download, so that a folder of clips can be held against what it should hold at any time.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from preprocess.annotations import Clip, ClipList, RefusedRow, read_kinetics
from preprocess.errors import InvalidInput
from preprocess.paths import publish

LIST_NAME = "list.csv"
LIST_INFO_NAME = "list.json"
_FORMAT = "kineflow-list"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ListSource:
    """One annotation list as it was given."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Of the file's bytes."""
    rows: int
    """Clips and refused rows together."""


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

    def write(self, folder: Path) -> None:
        """Publish `list.csv` and then `list.json`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        labelled = any(clip.label is not None for clip in self.clips)
        writer.writerow([*(["label"] if labelled else []), "youtube_id", "time_start", "time_end", "split"])
        for clip in self.clips:
            row = (clip.youtube_id, clip.time_start, clip.time_end, clip.split)
            writer.writerow([clip.label, *row] if labelled else row)
        publish(folder / LIST_NAME, text.getvalue().encode())
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "lists": [asdict(source) for source in self.sources],
            "dataset": self.dataset,
            "clips": len(self.clips),
            "keys_sha256": self.keys_sha256,
            "refused": [asdict(row) for row in self.refused],
        }
        publish(folder / LIST_INFO_NAME, (json.dumps(document, indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Wanted | None":
        """What an earlier run wrote; None when there was none, as in a folder made by hand.

        Raises:
            InvalidInput: damaged, or of a newer version.
        """
        path = folder / LIST_INFO_NAME
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise InvalidInput(f"{path} has version {document['version']!r}, this reader knows {_VERSION}")
            return cls(
                sources=tuple(ListSource(**source) for source in document["lists"]),
                dataset=document["dataset"],
                clips=read_kinetics(folder / LIST_NAME).clips,
                refused=tuple(RefusedRow(**{**row, "row": tuple(row["row"])}) for row in document["refused"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{path} is damaged ({error!r}); run `preprocess download` again to rebuild it"
            ) from error


def wanted_of(lists: Sequence[tuple[Path, ClipList]], clips: Iterable[Clip], *, dataset: str | None = None) -> Wanted:
    """What `clips`, selected from `lists`, amount to."""
    return Wanted(
        sources=tuple(
            ListSource(
                name=path.name,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                rows=len(listed.clips) + len(listed.refused),
            )
            for path, listed in lists
        ),
        dataset=dataset,
        clips=tuple(sorted(clips, key=lambda clip: clip.key)),
        refused=tuple(row for _, listed in lists for row in listed.refused),
    )


def hash_keys(keys: Iterable[str]) -> str:
    """sha256 over sorted keys, a newline after each."""
    digest = hashlib.sha256()
    for key in sorted(keys):
        digest.update(f"{key}\n".encode())
    return digest.hexdigest()
