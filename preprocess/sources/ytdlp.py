"""Clips by yt-dlp: from YouTube by id, or from any address template.

Where the site allows it, only the wanted seconds are fetched: yt-dlp has ffmpeg copy from the key frame before them,
with the original time stamps (`-copyts`), so that the trim afterwards is exact.
"""

import io
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from preprocess.address import without_secrets
from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import BadMedia, Cause, EnvironmentProblem, InvalidInput, TemporarilyUnavailable
from preprocess.sources.fetched import Extent, Fetched
from preprocess.sources.http import seconds_of_retry_after
from preprocess.sources.messages import meaning_of
from preprocess.sources.mortal_child import tie_children_of_ytdlp

os.environ["YTDLP_NO_PLUGINS"] = "1"  # plugins are code from the user's folders, loaded through the API too

SECTION_MIN_BYTES = 8 << 20
"""A smaller file is fetched whole: starting ffmpeg costs more than the bytes saved."""
SECTION_MARGIN_S = 2.0
"""Asked for after the wanted end, since sites cut at packets, not at frames."""

_VIDEOS_A_DOWNLOADER = 500  # then a fresh one: it remembers a little of each video
_MOST_DOWNLOADERS = 8  # kept at once, one for each proxy or cookie file
_YOUTUBE = "https://www.youtube.com/watch?v={youtube_id}"

logger = logging.getLogger(__name__)


def prepare() -> None:
    """Import what `fetch` needs of others; the generic extractor brings that of YouTube with it."""
    import imageio_ffmpeg  # noqa: F401
    import yt_dlp.extractor.extractors
    import yt_dlp.extractor.generic  # noqa: F401


def fetch(clip: Clip, folder: Path, *, config: DownloadConfig, sections: bool) -> Fetched:
    """Download the video of a clip, or the seconds around it, into `folder`.

    Raises:
        Unavailable, TemporarilyUnavailable, BadMedia: see `preprocess.sources.fetch`.
    """
    from yt_dlp.utils import YoutubeDLError

    ranges = _WantedSeconds(clip, allowed=sections)
    # the id is the only text of a list that gets into the address, and it is quoted
    url = (config.url_template or _YOUTUBE).replace("{youtube_id}", quote(clip.youtube_id))
    try:
        with _downloader(config=config) as downloader:
            downloader.params.update(options_of_clip(folder, ranges=ranges))
            downloader.extract_info(url, download=True)
    except OSError:  # of this machine's disk: yt-dlp has its own for the network
        raise
    except Exception as error:  # an answer that nobody thought of makes yt-dlp stumble, and is to cost its clip only
        known = isinstance(error, YoutubeDLError)
        said = str(error) if known else f"yt-dlp stumbled over what came for {clip.youtube_id} ({error!r:.300})"
        if config.url_template:  # a user and a key of the template are not for lists and cards that others see
            said = re.sub(r"https?://\S+", lambda found: without_secrets(found[0]), said)
        if ranges.asked:
            logger.info("%s: section refused (%s), fetching the whole video", clip.key, said)
            _empty(folder)
            return fetch(clip, folder, config=config, sections=False)
        if known:
            raise meaning_of(said, retry_after_s=retry_after_s(error)) from error
        raise TemporarilyUnavailable(said, cause=Cause.UNKNOWN) from error
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    if len(files) != 1:
        raise BadMedia(f"the download of {clip.youtube_id} left {len(files)} files, expected 1")
    return Fetched(path=files[0], extent=Extent.SECTION if ranges.asked else Extent.WHOLE)


class _Kept(threading.local):
    """The downloaders of a thread, a configuration each, and how many videos they have seen."""

    def __init__(self) -> None:
        self.downloaders: dict[DownloadConfig, tuple[Any, int]] = {}


_kept = _Kept()


@contextmanager
def _downloader(*, config: DownloadConfig) -> Iterator[Any]:
    """A `yt_dlp.YoutubeDL`, from the video before where there was one.

    Making one costs more than all else about a small video (certificates, extractors), and one that is kept has its
    connections open and YouTube's player script at hand.
    """
    from yt_dlp.utils import YoutubeDLError

    # taken out: one that a deadline or a bug stopped midway is not lent again
    downloader, videos = _kept.downloaders.pop(config, (None, 0))
    if downloader is None:
        downloader = _downloader_class()(options_of(config=config))
    if not config.identities[0].cookies:
        downloader.cookiejar.clear()  # every video is asked for by a stranger
    whole = False
    try:
        yield downloader
        whole = True
    except YoutubeDLError:
        whole = True  # an answer, such as 404
        raise
    finally:
        if whole and videos + 1 < _VIDEOS_A_DOWNLOADER:
            while len(_kept.downloaders) >= _MOST_DOWNLOADERS:
                _kept.downloaders.pop(next(iter(_kept.downloaders)))[0].close()
            _kept.downloaders[config] = downloader, videos + 1
        else:
            downloader.close()


@cache
def _downloader_class() -> Any:
    import yt_dlp

    class Downloader(yt_dlp.YoutubeDL):  # type: ignore[misc]
        """Without what costs time and has no effect here; remembers what the latest request was answered with."""

        answer: tuple[str, Any] | None = None

        def urlopen(self, req: Any) -> Any:
            self.answer = None
            response = super().urlopen(req)
            self.answer = response.url, response.headers
            return response

        def _forceprint(self, key: str, info_dict: dict[str, Any] | None) -> None:
            # for --print, which is not asked for: makes a table of all formats seven times a video
            pass

    return Downloader


def options_of(*, config: DownloadConfig) -> dict[str, Any]:
    """The options of `yt_dlp.YoutubeDL` for all clips: no plugins, no commands, asked for by one identity."""
    import imageio_ffmpeg
    from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

    identity = config.identities[0]
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    # the downloader asks for ffmpeg without looking at the option; yt-dlp's own command line sets this too
    FFmpegPostProcessor._ffmpeg_location.set(ffmpeg)
    tie_children_of_ytdlp()
    return {
        "allowed_extractors": ["generic"] if config.url_template else ["youtube"],
        "format": "bv*/b",
        "format_sort": ["res:480", "vcodec:h264"],  # enough for a short side of 256, and the fastest to decode
        "ffmpeg_location": ffmpeg,
        "external_downloader_args": {"ffmpeg_i": _section_arguments(config)},
        **({"proxy": identity.proxy} if identity.proxy else {}),
        # a stream, not the file: yt-dlp writes cookies back when it is done, and workers share the file. Read in the
        # encoding that headers are sent in, so that the bytes stay the same
        **({"cookiefile": io.StringIO(identity.cookies.read_text("latin-1"))} if identity.cookies else {}),
        "js_runtimes": {"deno": {}, "node": {}, "bun": {}, "quickjs": {}},
        "noplaylist": True,
        "fixup": "never",
        "skip_unavailable_fragments": False,  # the default counts a video with holes as a success
        "socket_timeout": config.socket_timeout_s,
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 1,
        "overwrites": True,
        "cachedir": False,
        "logger": _Logger(),
        "noprogress": True,
        "progress_delta": 3600.0,  # else each piece received is put into words that nobody sees
        "color": "no_color",
    }


def options_of_clip(folder: Path, *, ranges: "_WantedSeconds") -> dict[str, Any]:
    """The options that differ from clip to clip: one file in `folder`."""
    return {
        "outtmpl": {"default": str(folder).replace("%", "%%") + "/video.%(ext)s"},
        "download_ranges": ranges,
    }


def _section_arguments(config: DownloadConfig) -> list[str]:
    # quiet: ffmpeg would write the video's own texts to the terminal, some twenty lines a clip
    return ["-copyts", "-loglevel", "quiet", "-rw_timeout", str(round(config.socket_timeout_s * 1e6))]


class _WantedSeconds:
    """Tells yt-dlp which seconds to fetch, once it knows the video: all of a small one, or of one that cannot seek."""

    def __init__(self, clip: Clip, *, allowed: bool) -> None:
        self.asked = False
        self._allowed = allowed
        self._clip = clip

    def __call__(self, info: dict[str, Any], downloader: Any) -> Iterator[dict[str, float]]:
        if not self._allowed or not self._worth_it(info, downloader):
            yield {}
            return
        self.asked = True
        yield {"start_time": self._clip.time_start, "end_time": self._clip.time_end + SECTION_MARGIN_S}

    def _worth_it(self, info: dict[str, Any], downloader: Any) -> bool:
        known_bytes = info.get("filesize") or info.get("filesize_approx")
        if info.get("duration") and info.get("extractor") != "generic":
            return known_bytes is None or known_bytes > SECTION_MIN_BYTES
        formats = info.get("formats") or [info]
        if not str(formats[-1].get("url", "")).startswith(("http://", "https://")):
            return False
        from yt_dlp.networking.exceptions import RequestError

        try:
            headers = _headers_of(formats[-1]["url"], downloader)
            size = int(headers.get("Content-Length") or 0)
        except (RequestError, ValueError):
            return False
        return headers.get("Accept-Ranges") == "bytes" and size > SECTION_MIN_BYTES


def _headers_of(address: str, downloader: Any) -> Any:
    from yt_dlp.networking import HEADRequest

    if downloader.answer is not None and downloader.answer[0] == address:
        return downloader.answer[1]  # the generic extractor looked at the video itself just now
    with downloader.urlopen(HEADRequest(address)) as response:
        return response.headers


class _Logger:
    """yt-dlp's messages into ours; errors come as exceptions too."""

    def debug(self, message: str) -> None:
        logger.debug("%s", message)

    def info(self, message: str) -> None:
        logger.debug("%s", message)

    def warning(self, message: str) -> None:
        logger.info("%s", message)

    def error(self, message: str) -> None:
        logger.info("%s", message)


def retry_after_s(error: BaseException | None) -> float | None:
    """Seconds that the answer behind a yt-dlp error asks to wait, if it has such a header."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        text = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After")
        if text is not None:
            return seconds_of_retry_after(str(text))
        behind = getattr(error, "exc_info", None)
        waiting += [getattr(error, "cause", None), error.__cause__, error.__context__, behind[1] if behind else None]
    return None


def require_javascript() -> str:
    """What yt-dlp solves YouTube's player challenges with, such as `deno-2.9.8`.

    Raises:
        EnvironmentProblem: no runtime, or one that is too old: YouTube would hold formats back, and videos would
            look as if they were not there.
    """
    import yt_dlp  # registers the runtimes  # noqa: F401
    from yt_dlp.globals import supported_js_runtimes

    found = [kind().info for kind in supported_js_runtimes.value.values()]
    usable = [f"{info.name}-{info.version}" for info in found if info is not None and info.supported]
    if not usable:
        old = ", ".join(f"{info.name} {info.version}" for info in found if info is not None)
        raise EnvironmentProblem(
            f"yt-dlp needs a JavaScript runtime for YouTube, found {f'{old}, too old' if old else 'none'}; "
            "pip install 'kineflow[youtube]' brings deno"
        )
    return usable[0]


def export_browser_cookies(browser: str, target: Path) -> None:
    """Write the cookies of a browser on this machine to a Netscape file that only its owner may read.

    Args:
        browser: in yt-dlp's notation, `BROWSER[+KEYRING][:PROFILE][::CONTAINER]`.
        target: a file that does not exist yet.

    Raises:
        InvalidInput: not an expression that yt-dlp understands.
        EnvironmentProblem: no such browser here, or its cookies cannot be read.
    """
    import optparse

    import yt_dlp
    from yt_dlp.utils import YoutubeDLError

    try:
        options = yt_dlp.parse_options(["--ignore-config", "--cookies-from-browser", browser]).ydl_opts
    except (optparse.OptParseError, SystemExit, ValueError) as error:
        reason = " ".join(str(error).rpartition("error: ")[2].split())  # without yt-dlp's own "Usage: "
        raise InvalidInput(f"cookies from browser {browser!r}: {reason}") from error
    try:
        with yt_dlp.YoutubeDL(
            {"cookiesfrombrowser": options["cookiesfrombrowser"], "logger": _Logger(), "cachedir": False}
        ) as downloader:
            jar = downloader.cookiejar
    except (YoutubeDLError, OSError) as error:
        raise EnvironmentProblem(
            f"cannot read the cookies of {browser!r}: {str(error).removeprefix('ERROR: ')}; use --cookies with a file"
        ) from error
    target.touch(mode=0o600)
    jar.save(str(target), ignore_discard=True, ignore_expires=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
