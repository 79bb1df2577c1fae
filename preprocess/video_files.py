"""The video files of a data set such as UCF-101: found by name, decoded once, linked to where they are wanted."""

import filecmp
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.clips import VIDEO_SUFFIXES
from preprocess.errors import BadMedia, EnvironmentProblem
from preprocess.linking import link_or_copy
from preprocess.media_process import inspect
from preprocess.outcomes import ManifestEntry, Outcome
from preprocess.paths import inside, rename_into_place, temporary_beside
from preprocess.regular_file import sha256_of, warn_of_links
from preprocess.workers import Tick


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFile:
    """One video of a data set."""

    key: str
    label: str
    split: str
    dataset: str
    path: str = ""
    """Relative to the folder of videos; empty where it was not found."""
    known: ManifestEntry | None = None
    """What an earlier run found of it; of the same label and split."""

    def entry(self, outcome: Outcome, **fields: object) -> ManifestEntry:
        """Its line of the manifest. The whole video is the clip, so its seconds count from 0."""
        values: dict[str, object] = {"youtube_id": "", "time_start": 0, "time_end": 0, "path": self.path, **fields}
        return ManifestEntry(
            key=self.key,
            label=self.label,
            split=self.split,
            source=self.dataset,
            outcome=outcome,
            **values,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """The video files of a folder."""

    listed: dict[str, str]
    """Key to path, relative to the folder."""
    unlisted: dict[str, str]
    """Path of each other file to why it stands for no video."""


def find_files(folder: Path, *, labels: Mapping[str, str], without: Path) -> FoundFiles:
    """Look for videos at any depth of a folder.

    Hidden files and folders are passed over; links to folders are not followed, and a warning counts them. Of two files
    with one name that one is taken which lies in the folder of its class, or else comes first.

    Args:
        folder: to look in.
        labels: key to label of the videos to look for; a key is a file name without its suffix.
        without: a folder that is not looked into, unless it is `folder` itself.

    Raises:
        EnvironmentProblem: a folder cannot be read.
    """
    candidates: defaultdict[str, list[Path]] = defaultdict(list)
    unlisted: dict[str, str] = {}
    for path in sorted(_video_paths(folder, without=without)):
        if not str(path).isprintable():  # bytes that are not UTF-8 are not either, and no manifest could hold them
            unlisted[str(path)] = "its path is not printable text"
        elif path.stem in labels:
            candidates[path.stem].append(path)
        else:
            unlisted[str(path)] = "no list names it"
    listed: dict[str, str] = {}
    for key, paths in candidates.items():
        taken = next((path for path in paths if path.parent.name == labels[key]), paths[0])
        listed[key] = str(taken)
        unlisted |= {str(path): f"{taken} is taken" for path in paths if path != taken}
    return FoundFiles(listed=listed, unlisted=unlisted)


def index_file(video: VideoFile, _tick: Tick = lambda told: None, *, folder: Path, out: Path) -> ManifestEntry:
    """Decode a video whole, unless an earlier run found the same bytes, and link it into `out`, if that is elsewhere.

    Raises:
        EnvironmentProblem: it cannot be read, or neither linked nor copied, by this machine's fault.
    """
    source, known = folder / video.path, video.known
    try:
        digest = sha256_of(source)
        if known is not None and known.outcome is Outcome.DONE and known.sha256 == digest:
            entry = replace(known, path=video.path)
        else:
            entry = _decode(video, source, digest)
    except BadMedia as error:
        return video.entry(Outcome.BAD_MEDIA, cause=error.cause.value, reason=str(error))
    if out != folder:
        _place(source, inside(out, video.path))
    return entry


def _video_paths(folder: Path, *, without: Path) -> Iterator[Path]:
    without = without.resolve()

    def stop(error: OSError) -> None:
        raise EnvironmentProblem(f"folder {error.filename} cannot be read: {error.strerror}")

    links: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(root, name).resolve() != without]
        links += [path for name in folders if (path := Path(root, name)).is_symlink()]
        for name in names:
            path = Path(root, name)
            if path.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield path.relative_to(folder)
    warn_of_links(folder, links)


def _decode(video: VideoFile, source: Path, digest: str) -> ManifestEntry:
    info = inspect(source)
    return video.entry(
        Outcome.DONE,
        time_end=math.ceil(info.duration_s),
        sha256=digest,
        bytes=source.stat().st_size,
        **info.measures,
    )


def _place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it."""
    try:
        if target.is_file() and (target.samefile(source) or filecmp.cmp(target, source, shallow=False)):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(target)
        try:
            if not link_or_copy(source, temporary):
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            rename_into_place(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot link or copy {source} to {target}: {error.strerror}; free space or choose another --out"
        ) from error
