import time
from email.utils import formatdate

import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.deadline import DeadlinePassed, deadline
from preprocess.errors import BadMedia, TemporarilyUnavailable, Unavailable
from preprocess.media import open_video
from preprocess.sources import ytdlp
from preprocess.sources.fetched import Extent
from tests.preprocess.conftest import Fault, numbered_frames, write_video


@pytest.fixture
def clip():
    return Clip(youtube_id="-abc_defGHI", time_start=4, time_end=6, split="train", label="yoga", line=2)


@pytest.fixture
def fetch(clip, video_server, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    config = DownloadConfig(out=tmp_path, url_template=video_server.template)
    return lambda **options: ytdlp.fetch(clip, folder, config=config, **{"sections": True, **options})


@pytest.fixture
def video(video_server, clip):
    return write_video(video_server.folder / f"{clip.youtube_id}.mp4", numbered_frames(200), gop=25)


def times_of(fetched):
    with open_video(fetched.path) as opened:
        return [float(time_s) for time_s, _ in opened.frames(absolute=True)]


def test_small_video_comes_whole(video, fetch):
    fetched = fetch()
    assert fetched.extent is Extent.WHOLE
    assert fetched.path.read_bytes() == video.read_bytes()


def test_only_the_wanted_seconds_of_a_large_video(video, fetch, monkeypatch, capfd):
    monkeypatch.setattr(ytdlp, "SECTION_MIN_BYTES", 0)
    fetched = fetch()
    assert capfd.readouterr() == ("", "")  # of ffmpeg's
    assert fetched.extent is Extent.SECTION
    times = times_of(fetched)
    assert 3 <= times[0] <= 4  # from a key frame at or before second 4
    assert 6 <= times[-1] < 8  # not to the end of 8 s
    assert fetched.path.stat().st_size < video.stat().st_size


def test_server_that_cannot_seek_gives_the_whole_video(video, fetch, video_server, monkeypatch):
    monkeypatch.setattr(ytdlp, "SECTION_MIN_BYTES", 0)
    video_server.ranges = False
    assert fetch().extent is Extent.WHOLE


def test_failed_section_falls_back_to_the_whole_video(video, fetch, video_server, monkeypatch):
    monkeypatch.setattr(ytdlp, "SECTION_MIN_BYTES", 0)
    # ffmpeg meets something it cannot copy into mp4; the whole download does not mind
    monkeypatch.setattr(ytdlp, "_section_arguments", lambda config: ["-no_such_option"])
    assert fetch().extent is Extent.WHOLE


def test_sections_can_be_refused_by_the_caller(video, fetch, monkeypatch):
    monkeypatch.setattr(ytdlp, "SECTION_MIN_BYTES", 0)
    assert fetch(sections=False).extent is Extent.WHOLE


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, Unavailable),
        (410, Unavailable),
        (403, TemporarilyUnavailable),
        (429, TemporarilyUnavailable),
        (503, TemporarilyUnavailable),
    ],
)
def test_status_decides_the_outcome(video, fetch, video_server, status, error):
    video_server.faults[video.name] = status
    with pytest.raises(error, match=f"HTTP Error {status}"):
        fetch()


def test_web_page_fails_and_no_secret_of_the_address_is_told(video_server, clip, tmp_path):
    (video_server.folder / f"{clip.youtube_id}.mp4?key=word").write_bytes(b"<html><body>Not here</body></html>")
    template = f"{video_server.template}?key=word".replace("//", "//user:word@")
    with pytest.raises(BadMedia, match=f"Unsupported URL: {video_server.url}/{clip.youtube_id}.mp4$"):
        ytdlp.fetch(clip, tmp_path, config=DownloadConfig(out=tmp_path, url_template=template), sections=True)


def test_no_server_fails(fetch, clip, tmp_path):
    config = DownloadConfig(out=tmp_path, url_template="http://127.0.0.1:9/{youtube_id}.mp4")
    with pytest.raises(TemporarilyUnavailable, match="refused"):
        ytdlp.fetch(clip, tmp_path / "private", config=config, sections=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("in a while", None), (None, None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("later", 30)],
)
def test_retry_after_is_read_in_both_spellings(video, fetch, video_server, header, seconds):
    if header == "later":
        header = formatdate(time.time() + 30, usegmt=True)
    headers = {} if header is None else {"Retry-After": header}
    video_server.faults[video.name] = Fault(status=429, headers=headers)
    with pytest.raises(TemporarilyUnavailable) as caught:
        fetch()
    assert caught.value.retry_after_s == (None if seconds is None else pytest.approx(seconds, abs=2))


def test_options_leave_no_door_open(tmp_path):
    options = ytdlp.options_of(config=DownloadConfig(out=tmp_path))
    assert options["allowed_extractors"] == ["youtube"]
    assert options["noplaylist"]
    assert not options["skip_unavailable_fragments"]
    assert not {"exec", "postprocessors", "netrc_cmd", "external_downloader", "writelink", "cookiesfrombrowser"} & set(
        options
    )


def test_plugins_are_off():
    import os

    assert os.environ["YTDLP_NO_PLUGINS"]


def test_a_downloader_is_kept_from_video_to_video(video, fetch, monkeypatch):
    made = []
    monkeypatch.setattr(
        ytdlp, "options_of", lambda *, config, make=ytdlp.options_of: made.append(1) or make(config=config)
    )
    for _ in range(3):
        fetch().path.unlink()
    assert len(made) == 1


def test_a_downloader_that_was_stopped_midway_is_not_kept(video, fetch, video_server):
    video_server.faults[video.name] = Fault(silent=True, times=1)
    with pytest.raises(DeadlinePassed), deadline(0.3):
        fetch()
    assert fetch().path.read_bytes() == video.read_bytes()


def test_no_cookie_of_one_video_goes_with_the_next(video, fetch, video_server):
    video_server.faults[video.name] = Fault(headers={"Set-Cookie": "visitor=1; Path=/"})
    for _ in range(2):
        video_server.cookies.clear()
        fetch().path.unlink()
        assert "" in video_server.cookies  # the first request of each video
