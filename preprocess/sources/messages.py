"""What a downloader's message means: an error with a cause, the text kept word for word.

The order matters. YouTube words a rate limit as "Video unavailable. This content isn't available, try again later",
and a bot check as "Sign in to confirm you're not a bot": what tells about who asks is looked for before what tells
about the video. A message that no rule knows is temporary, so that a new wording costs a retry and not a clip.
"""

import re

from preprocess.errors import BadMedia, Cause, EnvironmentProblem, KineflowError, TemporarilyUnavailable, Unavailable

_TEXT_LENGTH = 500  # of a message that is kept; some carry a whole web page

_WHOSE = re.compile(r"\A\[[^\]]+\] \S+: ")
"""yt-dlp's `[youtube] ID: `: an id or a file name may be a word that a rule looks for."""
_NO_SPACE = re.compile(
    r"\[Errno (27|28|30|122)\]|no space left on device|disk quota exceeded|read-only file system", re.IGNORECASE
)

# Wordings of YouTube and of yt-dlp 2026.8, each with the rule it is for in tests/preprocess/sources/test_messages.py.
_RULES: tuple[tuple[str, type[BadMedia | Unavailable | TemporarilyUnavailable], Cause], ...] = (
    (r"rate.?limit|too many requests|HTTP Error 429", TemporarilyUnavailable, Cause.RATE_LIMIT),
    (r"isn.t available, try again later", TemporarilyUnavailable, Cause.RATE_LIMIT),
    (r"not a bot|captcha|unusual traffic|please sign in", TemporarilyUnavailable, Cause.BOT_WALL),
    (r"HTTP Error 403", TemporarilyUnavailable, Cause.FORBIDDEN),
    (r"HTTP Error (401|407)", TemporarilyUnavailable, Cause.FORBIDDEN),
    (r"HTTP Error (425|5\d\d)|try again later|backend error", TemporarilyUnavailable, Cause.SERVER_ERROR),
    (r"HTTP Error 408|timed? ?out", TemporarilyUnavailable, Cause.TIMEOUT),
    (r"connection|incomplete|\d bytes read|name resolution", TemporarilyUnavailable, Cause.CONNECTION),
    (r"remote end closed|unreachable|any data blocks|file is empty", TemporarilyUnavailable, Cause.CONNECTION),
    # yt-dlp that is too old or has no JavaScript runtime: nothing is wrong with the video
    (r"requested format is not available|no video formats found", TemporarilyUnavailable, Cause.UNKNOWN),
    (r"private video|video is private", Unavailable, Cause.PRIVATE),
    (r"members?.only|join this channel|channel.s members|requires payment", Unavailable, Cause.MEMBERS_ONLY),
    (r"in your (country|location|region)|geo.?restrict|HTTP Error 451", Unavailable, Cause.REGION),
    (r"copyright", Unavailable, Cause.COPYRIGHT),
    (r"account.{0,60}(terminated|closed)|closed their YouTube account", Unavailable, Cause.ACCOUNT_CLOSED),
    (r"confirm your age|age.?restrict|inappropriate for some users", Unavailable, Cause.AGE),
    (r"removed|deleted|violat|does not exist", Unavailable, Cause.REMOVED),
    (r"HTTP Error (404|410)", Unavailable, Cause.NOT_FOUND),
    (r"unsupported url|not a valid url", BadMedia, Cause.NOT_VIDEO),
    (r"unavailable|not available|no longer available|DRM protected", Unavailable, Cause.UNAVAILABLE),
)


def meaning_of(message: str, *, retry_after_s: float | None = None) -> KineflowError:
    """The error that a downloader's message stands for.

    Args:
        message: as the downloader gives it.
        retry_after_s: seconds, from the answer's `Retry-After` header, if it had one.

    Returns:
        BadMedia, Unavailable or TemporarilyUnavailable with its cause; EnvironmentProblem when this machine is at
        fault.
    """
    text = re.sub(r"\s+", " ", message).removeprefix("ERROR: ").split(" (caused by ")[0].strip()[:_TEXT_LENGTH]
    saying = _WHOSE.sub("", text)
    if _NO_SPACE.search(text):
        return EnvironmentProblem(f"{text}; free space, then run the command again")
    for pattern, kind, cause in _RULES:
        if re.search(pattern, saying, re.IGNORECASE):
            if kind is TemporarilyUnavailable:
                return TemporarilyUnavailable(text, cause=cause, retry_after_s=retry_after_s)
            return kind(text, cause=cause)
    return TemporarilyUnavailable(text, cause=Cause.UNKNOWN, retry_after_s=retry_after_s)
