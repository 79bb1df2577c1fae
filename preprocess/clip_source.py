"""Where the finished clips are: in a folder, or at an address."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from preprocess.address import is_address
from preprocess.clips import ClipFile, find_clips
from preprocess.errors import InvalidInput, UnreadableFile
from preprocess.object_store import ObjectStore
from preprocess.outcomes import MANIFEST_NAME
from preprocess.paths import inside
from preprocess.scratch import scratch_folder
from preprocess.target import Target

_AT_ONCE = 8  # transfers of a worker; most of their time is waiting for an answer


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """A folder of finished clips that all workers see; small, so that it can be sent to them."""

    folder: Path

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.folder)

    def absolute(self) -> "FolderSource":
        """The same for workers, which have another working folder on a cluster."""
        return FolderSource(folder=self.folder.absolute())

    def clips(self) -> list[ClipFile]:
        """All finished clips, see `find_clips`.

        Raises:
            InvalidInput: there are none.
        """
        return find_clips(self.folder)

    def at_hand(self, clips: Sequence[ClipFile]) -> AbstractContextManager[Path]:
        """A folder on this machine that these clips are in.

        Raises:
            EnvironmentProblem: they cannot be had. In a folder, that shows when one is opened.
        """
        del clips
        return nullcontext(self.folder)

    def witnesses(self, clips: Sequence[ClipFile]) -> Sequence[Path]:
        """Files that all workers must see, if they are to see these clips."""
        return [self.folder / clip.path for clip in clips[:1]]


@dataclass(frozen=True, kw_only=True)
class ObjectSource:
    """What `preprocess download` made at an address; see `FolderSource`."""

    store: ObjectStore

    @property
    def name(self) -> str:
        """See `FolderSource`."""
        return self.store.name

    def absolute(self) -> "ObjectSource":
        """See `FolderSource`."""
        return self

    def clips(self) -> list[ClipFile]:
        """See `FolderSource`; those of the manifest."""
        with TemporaryDirectory() as folder:
            if not self.store.get(MANIFEST_NAME, Path(folder, MANIFEST_NAME)):
                raise InvalidInput(f"{self.name} holds no {MANIFEST_NAME}; `preprocess download` makes one there")
            try:
                return find_clips(Path(folder))
            except InvalidInput as error:
                raise InvalidInput(str(error).replace(folder, self.name)) from error

    @contextmanager
    def at_hand(self, clips: Sequence[ClipFile]) -> Iterator[Path]:
        """See `FolderSource`."""
        with scratch_folder() as folder:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda clip: self._fetch(clip, folder), clips):
                    pass
            yield folder

    def witnesses(self, clips: Sequence[ClipFile]) -> Sequence[Path]:
        """See `FolderSource`; an address is seen from everywhere."""
        del clips
        return []

    def _fetch(self, clip: ClipFile, folder: Path) -> None:
        path = inside(folder, clip.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self.store.get(clip.path, path):
            raise UnreadableFile(f"{self.name}/{clip.path} is gone; get the clip again, then run the command again")


ClipSource = FolderSource | ObjectSource
"""Where the finished clips are."""


def check_apart(source: ClipSource, target: Target) -> None:
    """That shards do not go where the clips are, where both would keep a status under one name.

    Raises:
        InvalidInput: they would.
    """
    # an address is no path, but compares as one
    if Path(source.name).resolve() == Path(target.name).resolve():
        raise InvalidInput(f"{target.name} holds the clips; choose another folder for the shards")


def source_of(place: Path | str) -> ClipSource:
    """What a folder or an address is as a source of clips.

    Raises:
        InvalidInput: an address that fsspec does not know.
        EnvironmentProblem: fsspec, or its package for this kind of address, is not installed.
    """
    if isinstance(place, Path) or not is_address(place):
        return FolderSource(folder=Path(place))
    store = ObjectStore(place)
    store.check()
    return ObjectSource(store=store)
