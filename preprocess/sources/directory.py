"""Clips from a folder of videos on this machine: whole videos, or a copy of Kinetics that somebody has already.

Taken over are files called `{key}.*`, a finished clip, and `{youtube_id}.*`, a whole video or a clip by its id alone,
anywhere below the folder: flat, or in folders of classes, of splits, or both. Folder names need not be right for a file
to be found. They decide between several of one name: first comes the one whose folders spell the clip's label, as
`mountain climber (exercise)`, `mountain_climber_(exercise)` or `mountain_climber_exercise`, in any case; then the one
whose folders spell its split; then the first in sorted order.
"""

import csv
import logging
import os
import re
from array import array
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from preprocess.annotations import Clip
from preprocess.clip_names import read_clip_name
from preprocess.config import DownloadConfig
from preprocess.errors import Cause, EnvironmentProblem, Unavailable
from preprocess.kinetics_csv import SPLITS
from preprocess.paths import label_folder
from preprocess.sources.fetched import Extent, Fetched, extent_by_length
from preprocess.wanted import LIST_NAME

_NAME_BYTES = 25  # of a key

logger = logging.getLogger(__name__)


def fetch(clip: Clip, folder: Path, *, config: DownloadConfig, sections: bool) -> Fetched:  # noqa: ARG001 one signature
    """Find a clip, or the video that it is of, below the source folder.

    A file called by the id alone is the whole video or the clip, see `extent_by_length`. With several clips of that
    video in the list, or no list in `config.out` to tell, nobody could say which of them it is.

    Raises:
        Unavailable: neither is there or may be read, or it is a clip by its id alone and may be another one than this.
        BadMedia: the file by the id alone is no video.
        EnvironmentProblem: the folder cannot be read.
    """
    assert config.source_dir is not None
    tree = _tree_of(config.source_dir, config.out, _run_of(config.out))
    path = tree.find(clip.key, clip=clip)
    if path is not None:
        _check_readable(path)
        return Fetched(path=path, extent=Extent.CLIP, borrowed=True)
    path = tree.find(clip.youtube_id, clip=clip)
    if path is None:
        links = f"; links are not followed, of which there are {tree.links}" if tree.links else ""
        raise Unavailable(
            f"no {clip.key}.* and no {clip.youtube_id}.* below {config.source_dir}{links}", cause=Cause.NOT_FOUND
        )
    _check_readable(path)
    if extent_by_length(path, clip) is Extent.WHOLE:
        return Fetched(path=path, extent=Extent.WHOLE, borrowed=True)
    if not _is_only_one(clip.youtube_id, config.out):
        raise Unavailable(
            f"{path} is as long as a clip, and its name does not say of which seconds; "
            f"call it {clip.key}{path.suffix} if it is of these",
            cause=Cause.NOT_FOUND,
        )
    return Fetched(path=path, extent=Extent.CLIP, borrowed=True)


def _check_readable(path: Path) -> None:
    # where it is copied, a file that cannot be read would look like a disk that is full
    if not os.access(path, os.R_OK):
        raise Unavailable(f"{path} is gone, or may not be read by this user", cause=Cause.NOT_FOUND)


def _is_only_one(youtube_id: str, out: Path) -> bool:
    """Whether the list of the run has one clip of a video."""
    run = _run_of(out)
    return run is not None and youtube_id not in _repeated_ids(out / LIST_NAME, run)


def _run_of(out: Path) -> int | None:
    """What differs between two runs into `out` of one process: when its list was written; None without one."""
    path = out / LIST_NAME
    return path.stat().st_mtime_ns if path.is_file() else None


@lru_cache(maxsize=1)
def _repeated_ids(path: Path, _run: int) -> frozenset[str]:
    # a line at a time: the list as clips would be 200 MB in each worker
    with path.open(encoding="utf-8", newline="") as file:
        ids = (row["youtube_id"] for row in csv.DictReader(file))
        return frozenset(one for one, other in pairwise(ids) if one == other)  # it is sorted by key


@lru_cache(maxsize=1)
def _tree_of(folder: Path, out: Path, _run: int | None) -> "_Tree":
    # one walk a process and run
    return _Tree(folder, apart_from=out)


class _Tree:
    """The files of a folder by the clip or video that they are named for: some 70 bytes each.

    Args:
        root: walked once; links are not followed, hidden files and folders left out.
        apart_from: a folder left out when it lies below, since what is there is not the user's own.

    Attributes:
        links: how many there are, to files and folders.

    Raises:
        EnvironmentProblem: the folder cannot be read.
    """

    def __init__(self, root: Path, *, apart_from: Path) -> None:
        names, files = bytearray(), bytearray()
        self.links = 0
        self._ends, self._folder_of = array("Q"), array("I")
        self._folders: list[str] = []
        for folder, file_names, links in _walk(root, apart_from=apart_from):
            self.links += links
            self._folders.append(os.path.relpath(folder, root))
            for file_name in file_names:
                name = read_clip_name(file_name)
                if name is None:
                    continue
                names += name.text.encode().ljust(_NAME_BYTES, b"\0")
                files += os.fsencode(file_name)
                self._ends.append(len(files))
                self._folder_of.append(len(self._folders) - 1)
        names_N = np.frombuffer(bytes(names), f"S{_NAME_BYTES}")
        self._root = root
        self._files = bytes(files)
        self._order_N = np.argsort(names_N)
        self._names_N = names_N[self._order_N]

    def find(self, name: str, *, clip: Clip) -> Path | None:
        """The file of that name; of several, see this module's docstring."""
        wanted = np.array([name.encode()], self._names_N.dtype)
        first, last = (int(np.searchsorted(self._names_N, wanted, side)[0]) for side in ("left", "right"))
        found = [self._path(int(i)) for i in self._order_N[first:last]]
        best = min(found, key=lambda path: (*_strangeness(path, clip), path), default=None)
        return None if best is None else self._root / best

    def _path(self, index: int) -> Path:
        """Relative to the root."""
        start = self._ends[index - 1] if index else 0
        return Path(self._folders[self._folder_of[index]], os.fsdecode(self._files[start : self._ends[index]]))


def _walk(root: Path, *, apart_from: Path) -> Iterator[tuple[str, list[str], int]]:
    """Each folder with the names of its files and the number of its links."""
    below = apart_from.resolve().relative_to(root.resolve()) if _is_below(apart_from, root) else None
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        names: list[str] = []
        links = 0
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    links += entry.is_symlink()
                    if entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
                    elif entry.is_dir(follow_symlinks=False) and (below is None or Path(entry.path) != root / below):
                        waiting.append(entry.path)
        except OSError as error:
            if folder == str(root):
                raise EnvironmentProblem(f"cannot read the source folder {root}: {error.strerror}") from error
            logger.warning("folder %s cannot be read and was left out: %s", folder, error.strerror)
        yield folder, names, links


def _is_below(folder: Path, root: Path) -> bool:
    return root.resolve() in folder.resolve().parents


def _strangeness(path: Path, clip: Clip) -> tuple[bool, bool]:
    """Whether no folder on the way spells the clip's label, and none its split."""
    folders, label = path.parts[:-1], clip.label or ""
    spellings = {_plain(label), _plain(label_folder(label))}
    return (
        not any(_plain(name) in spellings for name in folders),
        not any(SPLITS.get(name.lower().removeprefix("videos_")) == clip.split for name in folders),
    )


def _plain(name: str) -> str:
    """Equal for all spellings of a class in folder names."""
    return re.sub(r"['()]", "", name.casefold().replace(" ", "_"))
