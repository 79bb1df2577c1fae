"""The clips behind a card, one by one: `card.clips.gz`, from which `preprocess card diff` names what differs.

Lines of JSON, `[split, label, key, status, detail]`, sorted. About 20 bytes a clip once packed, so it can be sent along
with the card where a manifest is too large.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InvalidInput

CARD_CLIPS_NAME = "card.clips.gz"
DONE = "done"
UNLISTED = "unlisted"
_HEADER = {"format": "kineflow-card-clips", "version": 1}
_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class CardClip:
    """One wanted or usable clip."""

    key: str
    split: str
    """Where it lies, or where the list wants it when it is missing."""
    label: str | None
    status: str
    """`done`; `unlisted`, which is done too, but asked for by no list; `not_tried`; or another outcome."""
    detail: str
    """Of a usable clip the first 16 digits of its file's sha256, of a missing one its cause."""

    @property
    def is_usable(self) -> bool:
        """It can be trained on."""
        return self.status in {DONE, UNLISTED}

    @property
    def is_wanted(self) -> bool:
        """The list asks for it."""
        return self.status != UNLISTED


def short_hash(sha256: str) -> str:
    """What stands for a file in `CardClip.detail`: enough to tell files apart that were not made to collide."""
    return sha256[:_DIGITS]


def write_clips(clips: Iterable[CardClip]) -> bytes:
    """The content of `card.clips.gz`; equal clips in any order give equal bytes."""
    lines = sorted((clip.split, clip.label or "", clip.key, clip.status, clip.detail) for clip in clips)
    packed = io.BytesIO()
    # no time and no file name in the header, or equal clips would give other bytes
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as file:
        file.write(json.dumps(_HEADER).encode() + b"\n")
        file.writelines(json.dumps([split, label or None, *rest]).encode() + b"\n" for split, label, *rest in lines)
    return packed.getvalue()


def read_clips(path: Path) -> Iterator[CardClip]:
    """The clips in the file `path`, sorted by split, class and key.

    Raises:
        InvalidInput: no such file, damaged, or of another version.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            if json.loads(next(file, "null")) != _HEADER:
                raise InvalidInput(f"{path} is no list of a card's clips, or of another version")
            for line in file:
                yield _to_clip(json.loads(line))
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"cannot read {path}: {error}; `preprocess card` writes it anew") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is damaged ({error}); `preprocess card` writes it anew") from error


def _to_clip(fields: object) -> CardClip:
    match fields:
        case [str(split), str() | None as label, str(key), str(status), str(detail)]:
            if all(text.isprintable() for text in (split, label or "", key, status, detail)):
                return CardClip(key=key, split=split, label=label, status=status, detail=detail)
    raise ValueError(f"{fields!r:.80} is not [split, label, key, status, detail] in printable text")
