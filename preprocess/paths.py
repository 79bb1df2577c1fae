"""Where files go, and how they get there whole: safe names, atomic publication."""

import fcntl
import os
import re
import secrets
import socket
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from preprocess.errors import EnvironmentProblem, InvalidInput

UNLABELLED = "unlabelled"
"""Folder of clips whose list has no label column."""

UNFINISHED = ".kineflow-unfinished"
"""Folder, in an output folder or at an address, of files that are not finished: a name that nobody else has."""

_FOLDER_LENGTH = 80
_TEMPORARY = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}\.tmp(\..*)?", re.DOTALL)  # of `temporary_beside`


def label_folder(label: str) -> str:
    """A folder name for a label: letters, digits and `-.()',&` kept, all else an underscore.

    Two labels may share a folder; the manifest keeps the exact label, so nothing depends on the name being unique.

    Example:
        >>> label_folder("mountain climber (exercise)"), label_folder("../../etc"), label_folder("")
        ('mountain_climber_(exercise)', '_.._etc', 'unlabelled')
    """
    kept = re.sub(r"[^\w.()',&-]", "_", unicodedata.normalize("NFC", label.strip())).lstrip(".-")
    encoded = kept.encode()[:_FOLDER_LENGTH]
    return encoded.decode(errors="ignore") or UNLABELLED


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused when that leaves `root`, also by a link on the way.

    Raises:
        InvalidInput: the path is absolute or points outside.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise InvalidInput(f"path {relative!r} leads outside {root}")
    return path


def publish(path: Path, content: bytes | bytearray | memoryview | Iterable[bytes]) -> None:
    """Write `path` so that a reader sees the old file or the new one, never a part of either.

    The content goes to a temporary file in the same folder, is synced, renamed over `path`, and the folder is synced.

    Raises:
        EnvironmentProblem: the disk is full, read-only or over quota.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            if isinstance(content, bytes | bytearray | memoryview):
                file.write(content)
            else:
                file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        rename_into_place(temporary, path)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):  # renamed, or in a folder that could not be made
            temporary.unlink()


def rename_into_place(temporary: Path, path: Path) -> None:
    """Rename a finished, synced file to its final name and make the rename itself durable."""
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def temporary_beside(path: Path) -> Path:
    """A fresh name in the folder of `path`, which `sweep_temporaries` recognises."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp{path.suffix}")


def sweep_temporaries(root: Path, *, subfolders: bool = False) -> None:
    """Delete what killed runs left behind in `root`, or also below it."""
    for path in root.rglob(".*.tmp*") if subfolders else root.glob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def swept(root: Path) -> Iterator[None]:
    """No temporary files in `root`: those of killed runs go first, those of workers that were stopped go last."""
    sweep_temporaries(root)
    try:
        yield
    finally:
        sweep_temporaries(root)


def make_folder(folder: Path, *, remedy: str = "choose another one") -> None:
    """Make an output folder, with its parents, unless it is there.

    Args:
        folder: to make.
        remedy: what to do where it cannot be made, for the message.

    Raises:
        EnvironmentProblem: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(f"cannot make the folder {folder}: {error.strerror}; {remedy}") from error


def check_not_taken(folder: Path, sign: str, *, holds: str, place: str | None = None, option: str = "--out") -> None:
    """That an output folder does not hold something else, whose status a run would write over.

    Args:
        folder: of the output.
        sign: name of a file that only the something else has.
        holds: what that is.
        place: name of the folder for the message; None is its path.
        option: that names the folder.

    Raises:
        InvalidInput: it does.
    """
    if (folder / sign).exists():
        raise taken(place or folder, sign, holds=holds, option=option)


def taken(place: Path | str, sign: str, *, holds: str, option: str = "--out") -> InvalidInput:
    """What `check_not_taken` raises."""
    return InvalidInput(f"{place} holds {holds} ({sign}); choose another {option}")


def check_writable(path: Path) -> None:
    """Make the folder of an output file, and see that the file can be published: before hours of work, not after.

    Raises:
        InvalidInput: `path` is a folder.
        EnvironmentProblem: the folder cannot be made or written to.
    """
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; give the name of a file")
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise EnvironmentProblem(f"cannot write {path}: {error.strerror}; choose another folder") from error


@contextmanager
def exclusive(held: Path, *, lock: Path | None = None) -> Iterator[None]:
    """Hold `held` for this process: two runs on one output would undo each other's work.

    Args:
        held: a folder, or a file in one that others may hold.
        lock: file that says so; None is `.lock` in the folder `held`.

    Raises:
        EnvironmentProblem: another process holds it, whose id is named; or its disk has no locks.
    """
    path = lock or held / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EnvironmentProblem(f"cannot write {path}: {error.strerror}; choose another folder") from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = file.read(100).strip() or "another process"
            raise EnvironmentProblem(f"{held} is in use by {holder}; wait for it or choose another one") from error
        except OSError as error:  # such as of Lustre, mounted without locks
            raise EnvironmentProblem(
                f"{path} cannot be locked ({error.strerror}); mount its disk with locks (Lustre: -o flock), or choose "
                "another one"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
        file.truncate(0)
