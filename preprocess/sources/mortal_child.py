"""The ffmpeg that yt-dlp starts, tied to this process: a worker that is killed cannot end it any more."""

import ctypes
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def tie_children_of_ytdlp() -> None:
    """Have the system kill what yt-dlp's downloaders start as soon as the thread that started it has ended."""
    from yt_dlp import utils
    from yt_dlp.downloader import external

    class MortalPopen(utils.Popen):  # type: ignore[misc]
        """As yt-dlp's own."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, preexec_fn=_die_with_parent, **options)

    if external.Popen is utils.Popen:
        external.Popen = MortalPopen


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
