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


def prepare(source: str) -> None:
    """Load what a source needs; to be called before a deadline begins.

    One that passes amid an import leaves a part of it behind, on which the next import of the same fails.
    """
    if SOURCES[source] is ytdlp.fetch:
        ytdlp.prepare()


def fetch(clip: Clip, folder: Path, *, source: str, config: DownloadConfig, sections: bool = True) -> Fetched:
    """Get the video of a clip, or its wanted seconds, from a source.

    Args:
        clip: what is wanted.
        folder: private and empty; whatever is downloaded lands here.
        source: a name of `SOURCES`.
        config: the source's settings; the first of its identities asks.
        sections: whether the source may be asked for the wanted seconds only.

    Raises:
        Unavailable: gone for good.
        TemporarilyUnavailable: another time, perhaps.
        BadMedia: something came, and it is no video.
        EnvironmentProblem: no space left, for example.
    """
    return SOURCES[source](clip, folder, config=config, sections=sections)


__all__ = ["SOURCES", "Fetched", "fetch", "prepare"]
