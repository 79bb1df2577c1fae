"""The clips that are ready for flow: from our manifest, or from any tree `split/class/video`."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath

from preprocess.collector import collector_paused
from preprocess.errors import BadMedia, EnvironmentProblem, InvalidInput
from preprocess.kinetics_csv import SPLITS
from preprocess.media_process import probe
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome, read_manifest
from preprocess.shards.layout import SPLITS as SHARD_SPLITS

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)
"""Of files that are taken for videos, in small letters."""

_SHOWN = 3  # names in a message
_MOST, _MOST_CHARACTERS = 1e9, 256  # of a number or a key in a manifest


logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFile:
    """One finished clip on disk."""

    key: str
    path: str
    """Relative to the folder of clips."""
    split: str
    label: str | None
    time_start: float
    """Seconds in the original video; 0 where nobody knows."""
    time_end: float
    duration_s: float
    """For planning only; nothing is cut by it."""
    height: int
    """Pixels; for planning only, 0 when unknown."""
    width: int
    fingerprint: str
    """SHA-256 of the file, where a manifest tells it; else its size, as a number."""


@collector_paused()
def find_clips(folder: Path) -> list[ClipFile]:
    """All finished clips of a folder, sorted by key.

    With a manifest, the clips it calls done. Without one, every video of `split/class/name`, where `split` is a
    spelling of train, val or test, and the class folder is the label, its underscores read as spaces. Hidden files and
    folders are passed over; a warning counts what else is left out.

    Raises:
        InvalidInput: no such folder, no clips in it, two of one name, or a split that shards do not know.
        EnvironmentProblem: this user or this disk cannot read something of a split.
    """
    if not folder.is_dir():
        raise InvalidInput(f"folder of clips {folder} does not exist; `preprocess download` makes one")
    if (folder / MANIFEST_NAME).is_file():
        clips = _done(read_manifest(folder), folder)
        if strange := sorted({clip.split for clip in clips} - set(SHARD_SPLITS)):
            raise InvalidInput(f"{folder} has clips of split {strange[0]!r}; shards know {', '.join(SHARD_SPLITS)}")
    else:
        try:
            clips = _walk(folder)
        except OSError as error:
            place = error.filename or folder
            raise EnvironmentProblem(
                f"{place} cannot be looked at ({error.strerror}); see to its mode or disk, or take it out"
            ) from error
    if not clips:
        raise InvalidInput(
            f"{folder} holds no finished clips: no manifest with clips done, and no split/class/video files"
        )
    clips.sort(key=attrgetter("key"))
    return clips


def _done(entries: dict[str, ManifestEntry], folder: Path) -> list[ClipFile]:
    clips = []
    while entries:  # taken out one by one: millions in both kinds at once are GBs
        _, entry = entries.popitem()
        if entry.outcome is Outcome.DONE:
            clips.append(
                ClipFile(
                    key=_checked(entry, folder).key,
                    path=entry.path,
                    split=entry.split,
                    label=entry.label,
                    time_start=entry.time_start,
                    time_end=entry.time_end,
                    duration_s=entry.duration_s,
                    height=entry.height,
                    width=entry.width,
                    fingerprint=entry.sha256,
                )
            )
    return clips


def _checked(entry: ManifestEntry, folder: Path) -> ManifestEntry:
    """The entry, if it is one that `preprocess download` may have written: the manifest may come with the clips.

    Raises:
        InvalidInput: its path leads out of the folder, or a field is not of its kind.
    """
    texts = (entry.key, entry.path, entry.split, entry.sha256, *([] if entry.label is None else [entry.label]))
    numbers = (entry.time_start, entry.time_end, entry.duration_s, entry.height, entry.width)
    sound = (
        all(isinstance(text, str) and text.isprintable() for text in texts)
        and all(type(number) in {int, float} and 0 <= number < _MOST for number in numbers)
        and 0 < len(entry.key) < _MOST_CHARACTERS
    )
    path = PurePosixPath(entry.path if sound else "..")
    if path.is_absolute() or ".." in path.parts:
        raise InvalidInput(
            f"{folder / MANIFEST_NAME}: the entry of {str(entry.key)[:80]!r} with the path {str(entry.path)[:200]!r} "
            "leads out of the folder or holds what is no text or number; take its line out and download the clip again"
        )
    return entry


def _walk(folder: Path) -> list[ClipFile]:
    found: dict[str, Path] = {}
    again: list[Path] = []
    left_out: list[Path] = []
    for path in _paths(folder):
        # a link that leads nowhere is not passed over: what it should be is lacking
        if any(name.startswith(".") for name in path.parts[-3:]) or not (path.is_file() or path.is_symlink()):
            continue
        if path.parts[-3].lower() not in SPLITS or path.suffix.lower() not in VIDEO_SUFFIXES:
            left_out.append(path.relative_to(folder))
            continue
        if not str(path.relative_to(folder)).isprintable():  # no key of a shard and no label could hold it
            raise InvalidInput(f"the name of {str(path)!r} is not printable text; rename it, or leave it out")
        if found.setdefault(path.stem, path) != path:
            again.append(path)
    if again:
        here, there = (path.relative_to(folder) for path in (found[again[0].stem], again[0]))
        raise InvalidInput(
            f"two clips are called {here.stem}: {here} and {there}; a file's name is the key of its clip, so rename "
            f"the second, as with its class in front ({len(again)} of {folder} in all)"
        )
    if left_out:
        _warn(folder, left_out)
    if misplaced := sorted(_misplaced(folder)):
        words = "%d videos of %s are left out, such as %r: a clip lies at SPLIT/CLASS/VIDEO"
        logger.warning(words, len(misplaced), folder, str(misplaced[0]))
    return [_found(path, folder) for path in found.values()]


def _paths(folder: Path) -> Iterator[Path]:
    """What lies at `split/class/name`, sorted; OSError where something of a split cannot be looked at."""
    for split in sorted(folder.iterdir()):
        if split.name.lower() in SPLITS and split.is_dir():
            for label in sorted(split.iterdir()):
                if label.is_dir():
                    yield from sorted(label.iterdir())
        else:  # no clips; `glob` passes over what is not for this user, such as lost+found
            yield from sorted(split.glob("*/*"))


def _misplaced(folder: Path) -> Iterator[Path]:
    """Videos above or below the folders of classes."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(root).relative_to(folder)
        if len(place.parts) != 2:
            visible = (place / name for name in names if not name.startswith("."))
            yield from (path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES)


def _found(path: Path, folder: Path) -> ClipFile:
    duration_s, height, width = _declared_size(path)
    return ClipFile(
        key=path.stem,
        path=str(path.relative_to(folder)),
        split=SPLITS[path.parts[-3].lower()],
        label=path.parts[-2].replace("_", " "),
        time_start=0.0,
        time_end=duration_s,
        duration_s=duration_s,
        height=height,
        width=width,
        fingerprint=str(path.stat().st_size),
    )


def _warn(folder: Path, left_out: list[Path]) -> None:
    splits = sorted({path.parts[0] for path in left_out if path.parts[0].lower() not in SPLITS})
    reason = (
        f"{', '.join(map(repr, splits[:_SHOWN]))} {'is' if len(splits) == 1 else 'are'} none of {', '.join(SPLITS)}"
        if splits
        else f"videos end in {', '.join(sorted(VIDEO_SUFFIXES))}"
    )
    logger.warning("%d files of %s are left out, such as %r: %s", len(left_out), folder, str(left_out[0]), reason)


def _declared_size(path: Path) -> tuple[float, int, int]:
    try:
        return probe(path)
    except BadMedia:
        return 0.0, 0, 0  # it stays in the plan, and fails by name when it is decoded
