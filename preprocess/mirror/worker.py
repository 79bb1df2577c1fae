"""Read one archive and store the wanted clips in it: the work of a mirror worker."""

import logging
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from preprocess.address import shown
from preprocess.annotations import Clip
from preprocess.clip_names import ClipName, read_clip_name
from preprocess.config import DownloadConfig
from preprocess.deadline import DeadlinePassed, deadline
from preprocess.errors import BadMedia, Cause, ClipError, EnvironmentProblem
from preprocess.mirror.ledger import ArchiveJournal, ArchiveRecord, of_killer
from preprocess.mirror.wanted_index import WantedIndex, open_wanted_index
from preprocess.outcomes import ManifestEntry, Outcome, outcome_of
from preprocess.sources.archive import ArchiveReader, Member, open_archive
from preprocess.sources.fetched import Extent, extent_by_length
from preprocess.sources.http import Connection
from preprocess.sources.mirror import Archive
from preprocess.sources.remote import Version
from preprocess.status.work import StageClock
from preprocess.store import store_clip
from preprocess.trim import trim
from preprocess.workers import Tick

_COPY_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ArchiveTask:
    """One archive for one worker; small, since it is sent."""

    archive: Archive
    wanted: Path
    """Of `preprocess.mirror.wanted_index`, where every worker can read it."""
    known: Version | None = None
    """What an earlier run read whole and found nothing in that is still wanted; the same again is left unread."""


@dataclass(frozen=True, kw_only=True)
class ArchiveResult:
    """How it went; the clips themselves are in the archive's journal."""

    record: ArchiveRecord | None
    """For the ledger; None when the archive was left unread."""
    retry_after_s: float | None = None
    """Seconds that the server asks to wait."""


def take_archive(
    task: ArchiveTask, tick: Tick = lambda told: None, *, config: DownloadConfig, connection: Connection
) -> ArchiveResult:
    """Stream an archive and store each wanted clip in it; a clip that is no good costs itself only.

    Members are finished clips. One called by its id alone may be the whole video (`extent_by_length`), and is trimmed.

    Entries go to the journal (`ArchiveJournal.entries`), each as soon as its clip is in place, so that nothing that was
    stored is lost with this process. What stands there already is not decoded again.

    Args:
        task: which archive, and what is wanted.
        tick: called after each clip that was stored or refused, with the work that it took.
        config: where to.
        connection: how to read.

    Returns:
        The record says what the archive itself came to: read whole, damaged, gone, or lost on the way.

    Raises:
        EnvironmentProblem: this machine's fault, such as a full disk.
    """
    taker = _Taker(task, tick, config)
    version, error = Version(tag="", length=None), None
    try:
        with (
            config.target.scratch() as folder,
            open_archive(task.archive.address, connection=connection) as reader,
        ):
            version = reader.version
            if version.is_known and version == task.known:
                return ArchiveResult(record=None)
            taker.take_all(reader, Path(folder))
    except ClipError as lost:
        error = lost
    except OSError as full:
        raise EnvironmentProblem(
            f"cannot write below {config.out}: {full}; free space, then run the command again"
        ) from full
    return ArchiveResult(record=taker.record(version, error), retry_after_s=getattr(error, "retry_after_s", None))


class _Taker:
    """Goes through the members of one archive, and counts."""

    def __init__(self, task: ArchiveTask, tick: Tick, config: DownloadConfig) -> None:
        self._address = task.archive.address
        self._wanted: WantedIndex = open_wanted_index(task.wanted)
        self._journal = ArchiveJournal.of(self._address, folder=config.out)
        self._tick = tick
        self._config = config
        self._members: list[str] = []
        self._refused: list[str] = []
        self._counts: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def take_all(self, reader: ArchiveReader, folder: Path) -> None:
        """Store every wanted clip of an open archive; `folder` is private, for unfinished files."""
        self._skipped = reader.skipped
        # one that was no good is looked at again: the archive may have been mended, or hold the clip twice
        entries = self._journal.entries
        settled = {key for key, entry in entries.items() if entry.outcome is not Outcome.BAD_MEDIA}
        killers = self._journal.killers()
        for member in reader.members():
            name = read_clip_name(member.name)
            if name is not None:
                self._members.append(name.text)
            if name is None or (found := self._wanted.find(name)) is None:
                self._counts["unwanted"] += 1
                logger.debug("%s: no row of the list wants %r", self._address, member.name)
                continue
            clip, pending = found
            if not pending or clip.key in settled:
                self._counts["settled"] += 1
                continue
            clock = StageClock()
            is_killer = clip.key in killers
            entry = of_killer(clip) if is_killer else self._stored(clip, name, member, folder, clock)
            self._journal.finish(entry)
            if entry.outcome is Outcome.DONE:
                settled.add(clip.key)
                self._counts["stored"] += 1
            else:
                self._refused.append(name.text)
            self._tick(clock.work)

    def record(self, version: Version, error: ClipError | None) -> ArchiveRecord:
        """For the ledger."""
        return ArchiveRecord(
            address=self._address,
            outcome=Outcome.DONE if error is None else outcome_of(error),
            cause="" if error is None else error.cause.value,
            reason="" if error is None else str(error),
            tag=version.tag,
            length=version.length,
            members=tuple(self._members),
            refused=tuple(self._refused),
            stored=self._counts["stored"],
            settled=self._counts["settled"],
            unwanted=self._counts["unwanted"],
            skipped=dict(self._skipped),
        )

    def _stored(self, clip: Clip, name: ClipName, member: Member, folder: Path, clock: StageClock) -> ManifestEntry:
        made, whole = folder / "clip.mp4", folder / "whole"
        with clock.running("fetch"), made.open("wb") as file:
            shutil.copyfileobj(member.file, file, _COPY_BYTES)  # what fails here is the archive's fault
        self._journal.begin(clip)
        try:
            with deadline(self._config.deadline_s):
                if name.seconds is None and extent_by_length(made, clip) is Extent.WHOLE:
                    made.rename(whole)
                    with clock.running("trim"):
                        trim(whole, made, start_s=clip.time_start, end_s=clip.time_end)
                with clock.running("inspect"):
                    return store_clip(clip, made, config=self._config, source="mirror")
        except (BadMedia, DeadlinePassed) as error:
            cause = error.cause if isinstance(error, BadMedia) else Cause.TIMEOUT
            reason = f"{shown(self._address)}: {error}"
            logger.info("%s: %s", clip.key, reason)
            return ManifestEntry.of_error(clip, BadMedia(reason, cause=cause), source="mirror")
