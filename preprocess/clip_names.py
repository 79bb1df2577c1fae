"""Which clip or video a file is named for, in the spellings of published copies of Kinetics."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

# An id may hold `_` and digits of its own, so it is told from the times by its fixed length.
_NAME = re.compile(r"\A(?P<id>[0-9A-Za-z_-]{11})(?:_(?P<start>[0-9]{1,6})_(?P<end>[0-9]{1,6}))?\Z")
_COMPANION = re.compile(
    r"\.(csv|description|gif|h5|html|jpe?g|jsonl?|log|m4a|md|mp3|np[yz]|part|pkl|png|pt|srt|te?mp|txt|vtt|wav|webp|xml"
    r"|ya?ml|ytdl|zip)\Z",
    re.IGNORECASE,
)
"""Suffixes of what tools put beside a video under its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipName:
    """What a file name says."""

    youtube_id: str
    seconds: tuple[int, int] | None
    """Start and end in the original video; None where the name is the id alone."""

    @property
    def text(self) -> str:
        """The key of the clip, or the id where there is no more."""
        if self.seconds is None:
            return self.youtube_id
        return f"{self.youtube_id}_{self.seconds[0]:06d}_{self.seconds[1]:06d}"


def read_clip_name(path: str) -> ClipName | None:
    """What the last part of a path says; None for the name of anything else than a clip or video.

    Example:
        >>> read_clip_name("val/yoga/-abc_defGHI_000004_000014.mp4").text
        '-abc_defGHI_000004_000014'
        >>> read_clip_name("-abc_defGHI_4_14.webm").seconds, read_clip_name("-abc_defGHI.mkv").seconds
        ((4, 14), None)
        >>> read_clip_name("._-abc_defGHI.mp4"), read_clip_name("-abc_defGHI.json"), read_clip_name("readme")
        (None, None, None)
    """
    file = PurePosixPath(path)
    found = _NAME.match(file.stem)
    if found is None or _COMPANION.match(file.suffix):
        return None
    seconds = (int(found["start"]), int(found["end"])) if found["start"] else None
    return ClipName(youtube_id=found["id"], seconds=seconds)
