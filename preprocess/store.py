"""A finished clip into the folder of clips: checked by decoding, hashed, synced, renamed."""

import hashlib
import os
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import BadMedia, Cause
from preprocess.media import inspect
from preprocess.outcomes import ManifestEntry, Outcome
from preprocess.paths import label_folder, rename_into_place


def store_clip(clip: Clip, made: Path, *, config: DownloadConfig, source: str) -> ManifestEntry:
    """Decode a trimmed clip once, whole, and move it to its place; its manifest line is the caller's to write, last.

    Args:
        clip: what it is a clip of.
        made: a file of our own in the scratch folder of `config.target`; moved away.
        config: where to, and how much of the wanted seconds must be there.
        source: for the manifest, such as `youtube`.

    Returns:
        The clip's manifest entry, `done`.

    Raises:
        BadMedia: it cannot be decoded whole, or it is too short.
        OSError: the disk is full or read-only.
        EnvironmentProblem: it cannot be uploaded.
    """
    info = inspect(made)
    wanted_s = clip.time_end - clip.time_start
    if info.duration_s < config.min_share * wanted_s:
        raise BadMedia(
            f"holds {info.duration_s:.2f} of the {wanted_s} wanted seconds ({info.frame_count} frames)",
            cause=Cause.TOO_SHORT,
        )
    with made.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = made.stat().st_size
    relative = f"{clip.split}/{label_folder(clip.label or '')}/{clip.key}.mp4"
    with config.target.making(relative) as final:
        rename_into_place(made, final)
    return ManifestEntry.of_clip(
        clip,
        Outcome.DONE,
        source=source,
        path=relative,
        sha256=digest,
        bytes=size,
        **info.measures,
    )
