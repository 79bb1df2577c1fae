"""Where a clip comes from. A source is a function; a new one is a file and a line in `SOURCES`."""

from collections.abc import Callable
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.sources import directory, ytdlp
from preprocess.sources.fetched import Fetched

SOURCES: dict[str, Callable[..., Fetched]] = {
    "youtube": ytdlp.fetch,
    "url": ytdlp.fetch,
    "directory": directory.fetch,
}
"""Name, as in the manifest, to `fetch(clip, folder, *, config, sections) -> Fetched`."""


def source_of(config: DownloadConfig) -> str:
    """Which of `SOURCES` a configuration asks for."""
    if config.source_dir is not None:
        return "directory"
    return "url" if config.url_template is not None else "youtube"


def fetch(clip: Clip, folder: Path, *, config: DownloadConfig, sections: bool = True) -> Fetched:
    """Get the video of a clip, or its wanted seconds, from the configured source.

    Args:
        clip: what is wanted.
        folder: private and empty; whatever is downloaded lands here.
        config: which source, and its settings.
        sections: whether the source may be asked for the wanted seconds only.

    Raises:
        Unavailable: gone for good.
        TemporarilyUnavailable: another time, perhaps.
        BadMedia: something came, and it is no video.
    """
    return SOURCES[source_of(config)](clip, folder, config=config, sections=sections)


__all__ = ["SOURCES", "Fetched", "fetch", "source_of"]
