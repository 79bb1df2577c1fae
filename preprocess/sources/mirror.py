"""Which tar archives hold the clips: published mirrors of Kinetics by name, or path lists and folders of one's own."""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from preprocess.annotations import Clip
from preprocess.errors import Cause, InvalidInput, TemporarilyUnavailable, Unavailable
from preprocess.labels import KINETICS, canonical, label_table
from preprocess.regular_file import warn_of_links
from preprocess.sources.http import Connection, is_remote, quoted
from preprocess.sources.remote import open_address

_BASE = "https://s3.amazonaws.com/kinetics"
_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_LIST_BYTES = 16 << 20
_HEAD_BYTES = 512

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One tar archive."""

    address: str
    """http(s), or an absolute path, which it is also for a worker elsewhere."""
    replaces: bool = False
    """Holds good copies of clips that are corrupt in other archives, so it is read before them."""
    split: str | None = None
    """Whose clips it holds: `train`, `val` or `test`; None when nobody says."""

    @property
    def title(self) -> str:
        """The file name without its suffixes: a class name, in archives of one class each."""
        name = unquote(urlsplit(self.address).path) if is_remote(self.address) else self.address
        return PurePosixPath(name).name.partition(".tar")[0].removesuffix(".tgz")


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A published copy."""

    lists: dict[str, str]
    """Split to the address of its path list: a text with the address of one archive a line."""
    replacements: tuple[str, ...] = ()
    """Addresses of archives with good copies of corrupt clips, of any split."""


def _published(dataset: str, *, replacements: tuple[str, ...] = ()) -> Mirror:
    splits = ("train", "val", "test")
    return Mirror(
        lists={split: f"{_BASE}/{dataset}/{split}/k{dataset}_{split}_path.txt" for split in splits},
        replacements=replacements,
    )


MIRRORS: dict[str, Mirror] = {
    "kinetics400": _published("400", replacements=(f"{_BASE}/400/replacement_for_corrupted_k400.tgz",)),
    "kinetics600": _published("600"),
    "kinetics700": _published("700_2020"),
}
"""Name to copy. Kinetics-700 and Kinetics-700-2020 share one.

Source: github.com/cvdfoundation/kinetics-dataset; the replacement set mends about 1,400 clips of Kinetics-400."""


def archives_of(
    mirror: str, *, splits: Collection[str] = (), connection: Connection = Connection()
) -> tuple[Archive, ...]:
    """The archives of a mirror, those that replace corrupt clips first: what was had from them is not taken again.

    Args:
        mirror: a name of `MIRRORS`; or the address or path of a path list (one address or path a line, relative ones
            relative to the list, `#` comments) or of one archive; or a folder with archives anywhere below it. Of
            these, archives whose name begins with `replacement` count as such.
        splits: read the lists of these only, all when empty; for names of `MIRRORS`.
        connection: how to read lists.

    Raises:
        InvalidInput: no such thing, or no archives in it.
        Unavailable, TemporarilyUnavailable: a list cannot be had; the latter after several tries.
    """
    check_mirror(mirror)
    if mirror in MIRRORS:
        known = MIRRORS[mirror]
        found = [Archive(address=address, replaces=True) for address in known.replacements]
        for split, address in known.lists.items():
            if not splits or split in splits:
                found += [Archive(address=line, split=split) for line in _read_list(address, connection=connection)]
    elif is_remote(mirror) or Path(mirror).is_file():
        place = mirror if is_remote(mirror) else str(Path(mirror).absolute())
        addresses = _listed_or_itself(place, connection=connection)
        if addresses and not any(is_remote(address) or Path(address).is_file() for address in addresses):
            raise InvalidInput(
                f"none of the {len(addresses)} archives that mirror {mirror!r} names is there, the first: "
                f"{addresses[0]}; it is read as a path list, one address or path of an archive a line"
            )
        found = [_of_ones_own(address) for address in addresses]
    else:
        found = [_of_ones_own(str(path)) for path in _archives_below(Path(mirror).absolute())]
    if not found:
        raise InvalidInput(f"mirror {mirror!r} names no archive; they end in {', '.join(_SUFFIXES)} in a folder")
    unique: dict[str, Archive] = {}
    for archive in found:
        unique.setdefault(archive.address, archive)
    return tuple(sorted(unique.values(), key=lambda archive: not archive.replaces))


def check_mirror(mirror: str) -> None:
    """That there is such a mirror, as far as can be told without reading from it.

    Raises:
        InvalidInput: there is none.
    """
    if is_remote(mirror):
        quoted(mirror)
        return
    try:
        # an empty one, as of `--mirror "$ARCHIVES"` without ARCHIVES, is not the folder that one is in
        is_there = mirror in MIRRORS or (mirror != "" and (Path(mirror).is_file() or Path(mirror).is_dir()))
    except OSError as error:
        raise InvalidInput(f"mirror {mirror!r} cannot be looked at: {error.strerror}") from error
    if not is_there:
        raise InvalidInput(
            f"mirror {mirror!r} is neither of {', '.join(MIRRORS)}, nor an http(s) address, nor a file or folder"
        )


def narrowed(archives: Iterable[Archive], clips: Iterable[Clip]) -> tuple[Archive, ...]:
    """The archives that may hold some of the clips, by their split and, where each class has its own, by their title.

    Parts of Kinetics-600 and 700 are one archive a class. That is taken for true only when each class that is wanted
    has its archive; then those that are called by another class of Kinetics need not be read. Archives that replace
    corrupt clips are always kept.
    """
    labels: dict[str | None, set[str]] = {}
    for clip in clips:
        for split in (clip.split, None):
            labels.setdefault(split, set()).add(_plain(clip.label or ""))
    candidates = [archive for archive in archives if archive.replaces or archive.split in labels]
    titles: dict[str | None, set[str]] = {}
    for archive in candidates:
        titles.setdefault(archive.split, set()).add(_plain(archive.title))
    return tuple(
        archive
        for archive in candidates
        if archive.replaces
        or not labels[archive.split] <= titles[archive.split]
        or _plain(archive.title) in labels[archive.split]
        or not _is_class(archive.title)  # such as part_1 beside them, which may hold any
    )


def _is_class(title: str) -> bool:
    return any(canonical(title, label_table(dataset)) is not None for dataset in KINETICS)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def _of_ones_own(address: str) -> Archive:
    return Archive(address=address, replaces=Archive(address=address).title.startswith("replacement"))


def _archives_below(folder: Path) -> list[Path]:
    """In sorted order; links are not followed, and a warning counts them. Another one tells of what cannot be read."""

    def tell(error: OSError) -> None:
        logger.warning("folder %s cannot be read and was left out: %s", error.filename, error.strerror)

    found: list[Path] = []
    links: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links += [path for name in folders if (path := Path(where, name)).is_symlink()]
        for name in sorted(names):
            path = Path(where, name)
            archive = name.lower().endswith(_SUFFIXES) and not name.startswith(".")  # as ._name.tar does, of macOS
            if archive and path.is_symlink():
                links.append(path)
            elif archive and path.is_file():
                found.append(path)
    warn_of_links(folder, links)
    return found


def _listed_or_itself(address: str, *, connection: Connection) -> list[str]:
    """The archives that a path list names, or the one archive that this is; its first bytes tell, not its name."""

    def looks_like_text() -> bool:
        with open_address(address, connection=connection) as (file, _):
            head = file.read(_HEAD_BYTES)
        return b"\0" not in head and not head.startswith(b"\x1f\x8b")

    return _read_list(address, connection=connection) if _patiently(looks_like_text, connection) else [address]


def _read_list(address: str, *, connection: Connection) -> list[str]:
    def read() -> bytes:
        with open_address(address, connection=connection) as (file, _):
            return file.read(_LIST_BYTES + 1)

    content = _patiently(read, connection)
    if len(content) > _LIST_BYTES:
        raise InvalidInput(f"path list {address} is larger than {_LIST_BYTES} bytes; give a text of one address a line")
    if content.lstrip().startswith(b"<"):
        raise Unavailable(f"path list {address} is a web page: {content[:60]!r}", cause=Cause.NOT_FOUND)
    found = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="surrogateescape").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found.append(_resolved(text, address))
        except InvalidInput as error:
            raise InvalidInput(f"path list {address}, line {number}: {error}") from error
    return found


def _resolved(text: str, list_address: str) -> str:
    """A line of a list as an address or path. A list from elsewhere cannot name a file of this machine."""
    if is_remote(list_address):
        try:
            text = urljoin(list_address, text)
        except ValueError as error:  # a bracket that is not closed
            raise InvalidInput(f"address {text!r} cannot be used: {error}") from error
    if "://" not in text:
        return str(Path(list_address).parent / text)
    quoted(text)  # or it is refused here, with its line
    return text


def _patiently(read: Callable[[], Value], connection: Connection) -> Value:
    policy, tries = connection.retries, 0
    while True:
        try:
            return read()
        except TemporarilyUnavailable as error:
            tries += 1
            if tries >= policy.tries or (error.retry_after_s or 0.0) > policy.longest_s:
                raise
            wait_s = policy.wait_s(tries, retry_after_s=error.retry_after_s)
            logger.warning("%s; again in %.0f s", error, wait_s)  # minutes may pass before the first clip
            time.sleep(wait_s)
