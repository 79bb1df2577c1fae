"""Fetch, verify, trim and publish clips.

A clip counts only when its manifest line is written, and the line is written only after the clip was decoded whole
and renamed to its final place. Resume trusts the manifest, never the existence of a file.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from preprocess import sources
from preprocess.annotations import Clip, RefusedRow
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.errors import BadMedia, EnvironmentProblem, KineflowError, WorkerDied
from preprocess.outcomes import (
    ManifestEntry,
    Outcome,
    append_manifest,
    count_outcomes,
    outcome_of,
    read_manifest,
    write_missing,
)
from preprocess.paths import exclusive, make_folder
from preprocess.sources.fetched import Extent
from preprocess.store import store_clip
from preprocess.trim import trim
from preprocess.workers import Tick, run_tasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DownloadReport:
    """How a run ended."""

    outcomes: dict[str, int]
    """Outcome to clips, of all that were asked for."""
    fetched: int
    """Clips done by this run."""
    missing: int
    """Rows of `missing.csv`: clips that are not done and rows that were refused."""


def download(
    clips: list[Clip],
    *,
    config: DownloadConfig,
    workers: WorkerConfig,
    refused: tuple[RefusedRow, ...] = (),
    on_progress: Callable[[ManifestEntry, int], None] = lambda entry, total: None,
) -> DownloadReport:
    """Get every clip that the manifest does not have yet; always leaves `missing.csv`.

    Args:
        clips: what is wanted.
        config: where from and where to.
        workers: how many processes.
        refused: rows of the list that are no clips, for `missing.csv`.
        on_progress: called with each finished clip and the number of clips this run tries.

    Raises:
        EnvironmentProblem: no space, no Ray, or another run holds the folder; what was done stays done.
    """
    make_folder(config.out)
    with exclusive(config.out):
        shutil.rmtree(_workspace(config), ignore_errors=True)
        entries = read_manifest(config.out)
        wanted = [clip for clip in clips if _is_wanted(entries.get(clip.key), config)]
        fetched = 0
        try:
            for clip, result in run_tasks(partial(fetch_clip, config=config), wanted, config=workers):
                entry = (
                    ManifestEntry.of_clip(clip, Outcome.QUARANTINED, reason=str(result))
                    if isinstance(result, WorkerDied)
                    else result
                )
                append_manifest(config.out, entry)
                entries[clip.key] = entry
                fetched += entry.outcome is Outcome.DONE
                on_progress(entry, len(wanted))
        finally:
            shutil.rmtree(_workspace(config), ignore_errors=True)
            missing = write_missing(config.out, clips, entries, refused)
        asked_for = [entries[clip.key] for clip in clips if clip.key in entries]
        return DownloadReport(outcomes=count_outcomes(asked_for), fetched=fetched, missing=missing)


def fetch_clip(clip: Clip, _tick: Tick = lambda: None, *, config: DownloadConfig) -> ManifestEntry:
    """Fetch, trim, decode and publish one clip; what the clip or its source does wrong ends in the entry's outcome.

    Raises:
        EnvironmentProblem: this machine's fault, such as a full disk.
    """
    source = sources.source_of(config)
    try:
        workspace = _workspace(config)
        workspace.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=workspace, ignore_cleanup_errors=True) as folder:
            return _get_clip(clip, Path(folder), config=config, source=source)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write below {config.out}: {error}; free space, then run the command again"
        ) from error
    except KineflowError as error:
        outcome = outcome_of(error)
        if outcome is None:
            raise
        return ManifestEntry.of_clip(clip, outcome, reason=str(error), source=source)


def _get_clip(clip: Clip, folder: Path, *, config: DownloadConfig, source: str) -> ManifestEntry:
    made = folder / "clip.mp4"
    (folder / "fetched").mkdir()
    _make_clip(clip, folder / "fetched", made, config=config)
    return store_clip(clip, made, config=config, source=source)


def _make_clip(clip: Clip, folder: Path, target: Path, *, config: DownloadConfig) -> None:
    fetched = sources.fetch(clip, folder, config=config)
    if fetched.extent is Extent.CLIP:
        shutil.copyfile(fetched.path, target)
        return
    try:
        _trim(clip, fetched, target)
    except BadMedia as error:
        if fetched.extent is not Extent.SECTION:
            raise
        logger.info("%s: section cannot be used (%s), fetching the whole video", clip.key, error)
        fetched.path.unlink(missing_ok=True)
        _trim(clip, sources.fetch(clip, folder, config=config, sections=False), target)


def _trim(clip: Clip, fetched: sources.Fetched, target: Path) -> None:
    section = fetched.extent is Extent.SECTION
    trim(fetched.path, target, start_s=clip.time_start, end_s=clip.time_end, absolute=section)


def _is_wanted(entry: ManifestEntry | None, config: DownloadConfig) -> bool:
    if entry is None or entry.outcome is Outcome.TEMPORARY:
        return True
    if entry.outcome is Outcome.UNAVAILABLE:
        # what one source does not have another may, and a folder costs nothing to look into again
        source = sources.source_of(config)
        return source == "directory" or source != entry.source or "unavailable" in config.retry
    return entry.outcome.value in config.retry


def _workspace(config: DownloadConfig) -> Path:
    return config.out / ".tmp"
