"""Where the files of a run go: into a folder, or to an address.

With an address, a staging folder on the machine of the driver holds what a folder would hold beside the files: plan,
manifest, lock and status, the truth of the run while it goes. Workers make each file on their own machine and upload
it when it is whole, and only then does the driver write it down.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from preprocess.address import is_address
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.object_store import ObjectStore
from preprocess.paths import UNFINISHED, check_not_taken, inside, make_folder, taken
from preprocess.records import SENT_NAME, NoRecords, Records, SentRecords
from preprocess.scratch import scratch_folder


@dataclass(frozen=True, kw_only=True)
class FolderTarget:
    """A folder that all workers see; small, so that it can be sent to them."""

    folder: Path
    """Of the driver: plan, manifest, lock, status."""

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.folder)

    def absolute(self) -> "FolderTarget":
        """The same for workers, which have another working folder on a cluster."""
        return FolderTarget(folder=self.folder.absolute())

    @property
    def shared(self) -> Sequence[Path]:
        """Folders that all workers must see."""
        return (self.folder,)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of a worker for files that are not finished, deleted with the block."""
        # on the same disk, so that a finished file is only renamed
        space = workspace(self.folder)
        space.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=space, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """Where a worker writes the file `name`, atomically; when the block ends well, it is published.

        Raises:
            EnvironmentProblem: it cannot be uploaded.
        """
        path = inside(self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path

    def holds(self, name: str, *, size: int, sha256: str) -> bool:
        """Whether a file is there, with this content as far as that can be told at little cost."""
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def sized(self) -> Callable[[str, int], bool]:
        """What to ask, many times, whether the file of a name is there and has a size; an address is listed for it.

        Raises:
            EnvironmentProblem: the disk or the address does not say, also when it is asked.
        """
        return self._has

    def _has(self, name: str, size: int) -> bool:
        place = f"{self.folder}/{name}"  # a path object would take longer than the disk does
        try:
            return os.stat(place).st_size == size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise EnvironmentProblem(
                f"{place} cannot be looked at ({error.strerror}); see to its disk, then run the command again"
            ) from error

    def check_not_taken(self, sign: str, *, holds: str) -> None:
        """See `preprocess.paths.check_not_taken`.

        Raises:
            InvalidInput: it is.
            EnvironmentProblem: an address does not say.
        """
        check_not_taken(self.folder, sign, holds=holds)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there.

        Raises:
            EnvironmentProblem: it cannot be deleted.
        """
        _delete(inside(self.folder, name))

    def free_bytes(self, *, without: Sequence[str] = ()) -> int | None:
        """Room for further files, once those of `without` are deleted; None where nobody knows."""
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        deleted = (inside(self.folder, name) for name in without)
        return shutil.disk_usage(existing).free + sum(path.stat().st_size for path in deleted if path.is_file())

    def records(self, names: Sequence[str]) -> AbstractContextManager[Records]:
        """Keep the driver's files `names` with the others: restored when the block begins, up to date at its end."""
        del names
        return nullcontext(NoRecords())


@dataclass(frozen=True, kw_only=True)
class ObjectTarget:
    """An address, and the folder on the driver's machine that goes with it; see `FolderTarget`."""

    store: ObjectStore
    folder: Path

    @property
    def name(self) -> str:
        """See `FolderTarget`."""
        return self.store.name

    def absolute(self) -> "ObjectTarget":
        """See `FolderTarget`."""
        return self

    @property
    def shared(self) -> Sequence[Path]:
        """See `FolderTarget`."""
        return ()

    def scratch(self) -> AbstractContextManager[Path]:
        """See `FolderTarget`."""
        return scratch_folder()

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """See `FolderTarget`."""
        with scratch_folder() as folder:
            path = folder / Path(name).name
            yield path
            self.store.put(path, name)

    def holds(self, name: str, *, size: int, sha256: str) -> bool:
        """See `FolderTarget`; the size tells."""
        del sha256
        return self.store.size(name) == size

    def sized(self) -> Callable[[str, int], bool]:
        """See `FolderTarget`."""
        sizes = self.store.all_sizes()
        return lambda name, size: sizes.get(name) == size

    def check_not_taken(self, sign: str, *, holds: str) -> None:
        """See `FolderTarget`; the address counts too, where the staging folder is new or of another machine."""
        check_not_taken(self.folder, sign, holds=holds, place=self.name)
        if self.store.size(sign) is not None:
            raise taken(self.name, sign, holds=holds)

    def remove(self, name: str) -> None:
        """See `FolderTarget`."""
        self.store.remove(name)
        _delete(inside(self.folder, name))

    def free_bytes(self, *, without: Sequence[str] = ()) -> int | None:
        """See `FolderTarget`."""
        del without
        return None

    def records(self, names: Sequence[str]) -> AbstractContextManager[Records]:
        """See `FolderTarget`.

        Raises:
            InvalidInput: the staging folder is the output of a run into a folder, which would be written over.
        """
        if not (self.folder / SENT_NAME).exists():
            for name in names:
                check_not_taken(self.folder, name, holds="what a run into it made", option="--staging")
        return SentRecords(self.store, self.folder, names).kept()


Target = FolderTarget | ObjectTarget
"""Where the files of a run go."""


def target_of(place: Path | str, *, staging: Path | None = None) -> Target:
    """What a place is as a target.

    Args:
        place: a folder, or an address.
        staging: for an address; by default a folder below the cache folder of the user, by the address.

    Raises:
        InvalidInput: see `ObjectStore.check`; or a staging folder for a folder.
        EnvironmentProblem: fsspec, or its package for this kind of address, is not installed; the user has no cache
            folder, and none can be made.
    """
    if isinstance(place, Path) or not is_address(place):
        if staging is not None:
            raise InvalidInput(f"--staging {staging} is for addresses such as s3://bucket/clips; {place} is a folder")
        return FolderTarget(folder=Path(place))
    store = ObjectStore(place)
    store.check(writes=True)
    if staging is None:
        staging = _staging_of(store)
        make_folder(staging.parent, remedy="name another place with --staging")
    return ObjectTarget(store=store, folder=staging.absolute())


def workspace(folder: Path) -> Path:
    """Where unfinished files of a run are, in its folder; emptied before and after each run."""
    return folder / UNFINISHED


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # there is a folder of its name, for example
        raise EnvironmentProblem(
            f"{path} cannot be deleted: {error.strerror}; move it away, then run the command again"
        ) from error


def _staging_of(store: ObjectStore) -> Path:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise EnvironmentProblem("this user has no home folder; name a place with --staging") from error
    return cache / "kineflow" / "staging" / hashlib.sha256(store.name.encode()).hexdigest()[:16]
