import pytest

from preprocess.errors import BadMedia, Cause, EnvironmentProblem, TemporarilyUnavailable, Unavailable
from preprocess.sources.messages import meaning_of

# As yt-dlp words them; the first ones are YouTube's own texts, with its typographic apostrophe.
COOKIES_HINT = (
    "Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies."
)
RATE_LIMITED = (
    "ERROR: [youtube] 0wR5jVB-WPk: Video unavailable. This content isn\u2019t available, try again later. The current "
    "session has been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay"
)
TERMINATED = (
    "This video is no longer available because the YouTube account associated with this video has been terminated."
)
BLOCKED = "This video contains content from SME, who has blocked it in your country on copyright grounds"
SAYINGS = [
    (RATE_LIMITED, TemporarilyUnavailable, "rate_limit"),
    ("Video unavailable. This content isn't available, try again later", TemporarilyUnavailable, "rate_limit"),
    ("Unable to download API page: HTTP Error 429: Too Many Requests", TemporarilyUnavailable, "rate_limit"),
    (f"Sign in to confirm you\u2019re not a bot. {COOKIES_HINT}", TemporarilyUnavailable, "bot_wall"),
    (f"Please sign in. {COOKIES_HINT}", TemporarilyUnavailable, "bot_wall"),
    (
        "Playback on other websites has been disabled. YouTube is requiring a captcha challenge before playback",
        TemporarilyUnavailable,
        "bot_wall",
    ),
    ("unable to download video data: HTTP Error 403: Forbidden", TemporarilyUnavailable, "forbidden"),
    ("Unable to download webpage: HTTP Error 503: Service Unavailable", TemporarilyUnavailable, "server_error"),
    ("An error occurred. Please try again later.", TemporarilyUnavailable, "server_error"),
    ("Unable to download webpage: The read operation timed out", TemporarilyUnavailable, "timeout"),
    ("Unable to download webpage: HTTP Error 408: Request Timeout", TemporarilyUnavailable, "timeout"),
    ("[Errno 104] Connection reset by peer", TemporarilyUnavailable, "connection"),
    ("[Errno -3] Temporary failure in name resolution", TemporarilyUnavailable, "connection"),
    ("100 bytes read, 23451 more expected", TemporarilyUnavailable, "connection"),
    ("[download] Got error: 100 bytes read. Giving up after 3 retries", TemporarilyUnavailable, "connection"),
    ("Did not get any data blocks", TemporarilyUnavailable, "connection"),
    ("Requested format is not available. Use --list-formats", TemporarilyUnavailable, "unknown"),
    (f"Private video. Sign in if you've been granted access. {COOKIES_HINT}", Unavailable, "private"),
    ("Join this channel to get access to members-only content like this video", Unavailable, "members_only"),
    ("Video unavailable. The uploader has not made this video available in your country", Unavailable, "region"),
    (f"Video unavailable. {BLOCKED}", Unavailable, "region"),
    (
        "Video unavailable. This video is no longer available due to a copyright claim by Some One",
        Unavailable,
        "copyright",
    ),
    (f"Video unavailable. {TERMINATED}", Unavailable, "account_closed"),
    (
        "Video unavailable. This video is no longer available because the uploader has closed their YouTube account.",
        Unavailable,
        "account_closed",
    ),
    (
        f"Sign in to confirm your age. This video may be inappropriate for some users. {COOKIES_HINT}",
        Unavailable,
        "age",
    ),
    ("Video unavailable. This video has been removed by the uploader", Unavailable, "removed"),
    ("This video has been removed for violating YouTube's policy on harassment", Unavailable, "removed"),
    ("[generic] goneGone_01: Unable to download webpage: HTTP Error 404: Not Found", Unavailable, "not_found"),
    ("Unable to download webpage: HTTP Error 410: Gone", Unavailable, "not_found"),
    ("Unable to download webpage: HTTP Error 451: Unavailable For Legal Reasons", Unavailable, "region"),
    ("[youtube] XyHm0BmtLHg: Video unavailable", Unavailable, "unavailable"),
    ("This video is not available", Unavailable, "unavailable"),
    ("Unsupported URL: http://127.0.0.1:8000/a.mp4", BadMedia, "not_video"),
]


@pytest.mark.parametrize(("text", "kind", "cause"), SAYINGS)
def test_each_saying_has_its_meaning(text, kind, cause):
    error = meaning_of(text)
    assert (type(error), error.cause.value) == (kind, cause)


def test_every_cause_that_a_message_can_have_is_here():
    by_other_means = {Cause.DAMAGED, Cause.TOO_SHORT, Cause.WORKER_DIED}
    assert {cause for _, _, cause in SAYINGS} == {cause.value for cause in Cause} - by_other_means


@pytest.mark.parametrize("name", ["captcha1234", "connection1", "copyright_1"])
def test_an_id_is_no_saying(name):
    error = meaning_of(f"ERROR: [youtube] {name}: Video unavailable")
    assert (type(error), error.cause, str(error)) == (
        Unavailable,
        Cause.UNAVAILABLE,
        f"[youtube] {name}: Video unavailable",
    )


def test_unknown_message_is_temporary_and_kept_word_for_word():
    error = meaning_of("ERROR: [youtube] x: The  moon is\nin the way", retry_after_s=7.0)
    assert (type(error), error.cause, error.retry_after_s) == (TemporarilyUnavailable, Cause.UNKNOWN, 7.0)
    assert str(error) == "[youtube] x: The moon is in the way"


@pytest.mark.parametrize(
    "text", ["unable to write data: [Errno 28] No space left on device", "[Errno 122] Disk quota exceeded: 'a.mp4'"]
)
def test_full_disk_is_no_fault_of_the_clip(text):
    assert type(meaning_of(text)) is EnvironmentProblem
