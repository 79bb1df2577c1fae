"""Clips from a folder of videos on this machine."""

from functools import lru_cache
from pathlib import Path

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import Unavailable
from preprocess.sources.fetched import Extent, Fetched


def fetch(clip: Clip, folder: Path, *, config: DownloadConfig, sections: bool) -> Fetched:  # noqa: ARG001 one signature
    """Find `{key}.*`, a finished clip, or `{youtube_id}.*`, the whole video, anywhere below the source folder.

    Raises:
        Unavailable: neither is there.
    """
    assert config.source_dir is not None
    stems = _files_by_stem(config.source_dir)
    for stem, extent in ((clip.key, Extent.CLIP), (clip.youtube_id, Extent.WHOLE)):
        if stem in stems:
            return Fetched(path=stems[stem], extent=extent)
    raise Unavailable(f"no {clip.key}.* and no {clip.youtube_id}.* below {config.source_dir}")


@lru_cache(maxsize=1)
def _files_by_stem(folder: Path) -> dict[str, Path]:
    # one walk a process; sorted, so that of two files with one stem the choice does not depend on the file system
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if (
            path.is_file()
            and not path.is_symlink()
            and not path.name.endswith((".npz", ".json", ".jsonl", ".csv", ".txt"))
        ):
            found.setdefault(path.stem, path)
    return found
