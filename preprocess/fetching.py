"""Get one clip from one source: the work of a download worker, and what it answers."""

import logging
from dataclasses import dataclass
from pathlib import Path

from preprocess import sources
from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.deadline import DeadlinePassed, deadline
from preprocess.errors import BadMedia, Cause, ClipError, EnvironmentProblem, TemporarilyUnavailable
from preprocess.linking import link_or_copy
from preprocess.outcomes import ManifestEntry
from preprocess.schedule import Attempt
from preprocess.sources.fetched import Extent
from preprocess.status.work import StageClock, Work
from preprocess.store import store_clip
from preprocess.trim import trim
from preprocess.workers import Tick

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one attempt."""

    entry: ManifestEntry
    work: Work
    """What it took, well or not."""
    retry_after_s: float | None = None
    """Seconds that the source asks to wait."""


def fetch_clip(attempt: Attempt, _tick: Tick = lambda told: None, *, source: str, config: DownloadConfig) -> Answer:
    """Fetch, trim, decode and publish one clip; what the clip or its source does wrong ends in the entry's outcome.

    Raises:
        EnvironmentProblem: this machine's fault, such as a full disk.
    """
    clock = StageClock()
    try:
        with config.target.scratch() as folder:
            entry = _get(attempt, folder, source=source, config=config, clock=clock)
            return Answer(entry=entry, work=clock.work)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write below {config.out}: {error}; free space, then run the command again"
        ) from error
    except ClipError as error:
        entry = ManifestEntry.of_error(attempt.clip, error, source=source)
        return Answer(entry=entry, work=clock.work, retry_after_s=getattr(error, "retry_after_s", None))


def _get(attempt: Attempt, folder: Path, *, source: str, config: DownloadConfig, clock: StageClock) -> ManifestEntry:
    made = folder / "clip.mp4"
    (folder / "fetched").mkdir()
    sources.prepare(source)
    try:
        with deadline(config.deadline_s):
            _make_clip(
                attempt.clip,
                folder / "fetched",
                made,
                source=source,
                config=config.narrowed(source, attempt.identity),
                clock=clock,
            )
            with clock.running("inspect"):
                return store_clip(attempt.clip, made, config=config, source=source)
    except DeadlinePassed as error:
        raise TemporarilyUnavailable(
            f"{error}, the deadline of a clip ({source}); the connection may be slow or hang", cause=Cause.TIMEOUT
        ) from error


def _make_clip(
    clip: Clip, folder: Path, target: Path, *, source: str, config: DownloadConfig, clock: StageClock
) -> None:
    with clock.running("fetch"):
        fetched = sources.fetch(clip, folder, source=source, config=config)
    if fetched.extent is Extent.CLIP:
        if fetched.borrowed:
            link_or_copy(fetched.path, target)
        else:
            fetched.path.rename(target)
        return
    try:
        _trim(clip, fetched, target, clock=clock)
    except BadMedia as error:
        if fetched.extent is not Extent.SECTION:
            raise
        logger.info("%s: section cannot be used (%s), fetching the whole video", clip.key, error)
        fetched.path.unlink(missing_ok=True)
        with clock.running("fetch"):
            whole = sources.fetch(clip, folder, source=source, config=config, sections=False)
        _trim(clip, whole, target, clock=clock)


def _trim(clip: Clip, fetched: sources.Fetched, target: Path, *, clock: StageClock) -> None:
    section = fetched.extent is Extent.SECTION
    with clock.running("trim"):
        trim(fetched.path, target, start_s=clip.time_start, end_s=clip.time_end, absolute=section)
