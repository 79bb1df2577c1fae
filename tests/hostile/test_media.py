"""Attacks by video files, each with its outcome; and the real damaged and odd files, each with theirs."""

import os
import socket
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from preprocess import media, regular_file
from preprocess.errors import BadMedia
from preprocess.media import clip_frames, inspect, probe, read_clip
from preprocess.trim import trim
from tests.preprocess.conftest import numbered_frames, textured_frames, write_video

NOT_VIDEO = "not a video file in an allowed container"


def text(content):
    return lambda path: path.write_bytes(content)


def pipe(path):
    os.mkfifo(path)


def link(path):
    path.symlink_to(path.with_name("secret.mp4"))


def folder(path):
    path.mkdir()


def unix_socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's whole path may have 107 characters only
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


def frames(count, *, height=48, width=64, start=0):
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.zeros((height * 3 // 2, width), np.uint8), format="yuv420p")
        frame.pts = start + index
        yield frame


def encoded(path, *, sizes, container):
    """Files with two black frames of each size, one after the other."""
    parts = []
    for number, (height, width) in enumerate(sizes):
        part = path.with_suffix(f".{number}")
        with av.open(part, "w", format=container) as output:
            stream = output.add_stream("libx264", rate=25, options={"bf": "0", "preset": "ultrafast"})
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            for frame in frames(2, height=height, width=width, start=2 * number):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def pixel_bomb(path):
    encoded(path, sizes=[(4096, 4096)], container="mp4")
    assert path.stat().st_size < 100_000


def growing_picture(path):
    encoded(path, sizes=[(48, 64)] * 3 + [(4096, 4112)], container="mpegts")


def later_growing_picture(path):
    """After what a demuxer looks at before it says how large the picture is."""
    encoded(path, sizes=[(48, 64)] * 20 + [(4096, 4112)], container="mpegts")


def changing_picture(path):
    encoded(path, sizes=[(48, 64), (64, 48)], container="mpegts")


def line_of_pixels(path):
    encoded(path, sizes=[(16, 4096)], container="mp4")


def many_streams(path):
    with av.open(path, "w", format="matroska") as output:
        streams = [output.add_stream("libx264", rate=25, options={"preset": "ultrafast"}) for _ in range(80)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for stream in streams:
            for frame in frames(1):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


def two_days_long(path):
    write_video(path, numbered_frames(2), times_s=[0, 48 * 3600], container="matroska")


def cover_only(path):
    """A sound file with a picture on its cover."""
    with av.open(path, "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=44100)
        picture = output.add_stream("mjpeg", rate=25)
        picture.height, picture.width, picture.pix_fmt = 48, 64, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
        for image in frames(1):
            output.mux(picture.encode(image))
        output.mux(picture.encode(None))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n"
DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    b'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="64" height="48">'
    b"<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
SDP = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)

ATTACKS = {
    "hls playlist": (text(PLAYLIST), NOT_VIDEO),
    "hls playlist of an address": (text(PLAYLIST.replace(b"secret", b"http://127.0.0.1:9/secret")), NOT_VIDEO),
    "concat script": (text(b"ffconcat version 1.0\nfile secret.mp4\n"), NOT_VIDEO),
    "concat script of a device": (text(b"ffconcat version 1.0\nfile /dev/zero\n"), NOT_VIDEO),
    "dash manifest": (text(DASH), NOT_VIDEO),
    "session description": (text(SDP), NOT_VIDEO),
    "subtitles": (text(b"1\n00:00:00,000 --> 00:00:01,000\n<script>\n"), NOT_VIDEO),
    "web page": (text(b"<html><body>error</body></html>"), NOT_VIDEO),
    "filter graph": (text(b"movie=secret.mp4"), NOT_VIDEO),
    "picture": (text(b"\x89PNG\r\n\x1a\n" + bytes(100)), NOT_VIDEO),
    "nothing": (text(b""), "empty file"),
    "zeros": (text(bytes(5000)), NOT_VIDEO),
    "link": (link, "a link, which is not followed"),
    "pipe": (pipe, "not a regular file"),
    "folder": (folder, "not a regular file"),
    "socket": (unix_socket, "not a regular file"),
    "17 million pixels in a few kB": (pixel_bomb, "4096x4096 pixels a frame, at most 9437184"),
    "picture that grows": (growing_picture, "4112x4096 pixels a frame, at most 9437184"),
    "picture that grows later on": (
        later_growing_picture,
        "damaged after 40 frames",
    ),  # not "changes": no memory for it
    "picture that turns": (changing_picture, r"the picture changes from \(\d+, \d+\) to \(\d+, \d+\) px"),
    "line of pixels": (line_of_pixels, "4096x16 pixels a frame, a side of more than 16 times the other"),
    "80 streams": (many_streams, "more than 64 streams"),
    "two days": (two_days_long, "48 hours long, at most 24"),
    "cover picture only": (cover_only, "no video stream"),
}


@pytest.fixture
def attack(tmp_path):
    """Makes the file of an attack, beside a good video that it must not reach."""
    write_video(tmp_path / "secret.mp4", numbered_frames(10))

    def make(name):
        path = tmp_path / "clip.mp4"
        ATTACKS[name][0](path)
        return path, ATTACKS[name][1]

    return make


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_ends_as_bad_media_at_once(attack, name):
    path, outcome = attack(name)
    started = time.monotonic()
    with pytest.raises(BadMedia, match=rf"clip\.mp4: .*({outcome})"):
        inspect(path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["hls playlist", "concat script", "dash manifest", "link", "pipe", "80 streams"])
def test_every_way_to_open_a_video_refuses(attack, name):
    path, outcome = attack(name)
    for opens in (
        probe,
        read_clip,
        lambda path: list(clip_frames(path, fps=Fraction(25), short_side=48)),
        lambda path: trim(path, path.with_name("out.mp4"), start_s=0, end_s=1),
    ):
        with pytest.raises(BadMedia, match=outcome):
            opens(path)


def test_device_fails(tmp_path):
    for name in ("null", "zero", "tty"):
        with pytest.raises(BadMedia, match=f"{name}: "):
            inspect(Path("/dev") / name)


def test_no_file_and_no_address_is_opened_by_name(attack):
    """Not even the file's own name: the demuxer has the open file and nothing else."""
    path, _ = attack("link")
    with media.open_video(path.with_name("secret.mp4")) as video:
        options = video.container.options
    assert options["protocol_whitelist"] == "fd"
    descriptor = os.open(path.with_name("secret.mp4"), os.O_RDONLY)
    try:
        options = {"protocol_whitelist": "fd", "fd": str(descriptor)}
        for url in (f"file:{path.with_name('secret.mp4')}", "http://127.0.0.1:9/x.mp4", f"concat:{path}"):
            with pytest.raises(av.FFmpegError):
                av.open(url, options=options)
    finally:
        os.close(descriptor)


def test_file_names_that_look_like_options_and_protocols_are_opened(tmp_path):
    for name in ("-ab_cdEFGh1.mp4", "a:b.mp4", "http:x.mp4", "a%05d.mp4", "x|y.mp4"):
        assert inspect(write_video(tmp_path / "x.mp4", numbered_frames(3)).rename(tmp_path / name)).frame_count == 3


def test_no_descriptor_is_left_open(attack):
    path, _ = attack("web page")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(BadMedia):
            inspect(path)
        inspect(path.with_name("secret.mp4"))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_frames_are_limited_while_they_are_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(30))
    monkeypatch.setattr(media, "MAX_FRAMES", 29)
    with pytest.raises(BadMedia, match=r"a\.mp4: more than 29 frames"):
        inspect(path)


def test_seconds_are_limited_while_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.mkv"
    write_video(path, numbered_frames(3), times_s=[0, 1, 3700], container="matroska")
    monkeypatch.setattr(media, "MAX_HOURS", 1)
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88")  # the declared duration, a float of 8 bytes
    path.write_bytes(content[: place + 3] + np.array(1000, ">f8").tobytes() + content[place + 11 :])
    assert probe(path)[0] == 1.0
    with pytest.raises(BadMedia, match="a frame at hour 1, of 1 at most"):
        inspect(path)


def test_bytes_of_a_clip_are_limited_before_they_fill_the_memory(tmp_path, monkeypatch):
    """Two frames an hour apart are 90,000 frames at 25 fps."""
    path = write_video(tmp_path / "a.mkv", numbered_frames(2), times_s=[0, 3600], container="matroska")
    monkeypatch.setattr(media, "MAX_CLIP_BYTES", 1 << 20)
    with pytest.raises(BadMedia, match="its frames take more than 1048576 bytes; trim it first"):
        read_clip(path, short_side=48)


def test_file_that_is_too_large_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    with path.open("wb") as file:
        file.truncate(regular_file.MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(BadMedia, match="68719476737 bytes, at most 68719476736"):
        inspect(path)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_never_do_more_than_fail(tmp_path, seed):
    path = write_video(tmp_path / "a.mp4", textured_frames(12), gop=4)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for _ in range(12):
        damaged = content.copy()
        for place in random.integers(0, len(content), random.integers(1, 9)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            info = inspect(path)
        except BadMedia as error:
            assert str(error).startswith("a.mp4: ")  # noqa: PT017 both ends are right
        else:
            assert info.frame_count <= 13


# --- real files ---------------------------------------------------------------------------------------------------

REAL = {
    "broken/decord_corrupted.mp4": "damaged after 28 frames",
    "broken/exo_clearkey_encrypted.mp4": NOT_VIDEO,
    "broken/exo_sample_mdat_too_long.mp4": 30,
    "broken/exo_vp9_invalid-bitstream.webm": "damaged after 0 frames",
    "broken/mpy_result_0bytes.webm": "empty file",
    "broken_crafted/audio_only.mp4": "no video stream",
    "broken_crafted/header_only_32b.mp4": NOT_VIDEO,
    "broken_crafted/html_error_page.mp4": NOT_VIDEO,
    "broken_crafted/no_moov.mp4": NOT_VIDEO,
    "broken_crafted/random_bytes.mp4": NOT_VIDEO,
    "broken_crafted/raw_h264_no_container.h264": NOT_VIDEO,
    "broken_crafted/really_mkv_named.mp4": 310,
    "broken_crafted/truncated_50pct_moov_front.mp4": "damaged after 130 frames",
    "broken_crafted/truncated_no_index.avi": 163,
    "broken_crafted/zero_bytes.mp4": "empty file",
    "broken_crafted/zero_frames.mp4": "no video stream",
    "codec/decord_unordered.mov": 4,
    "codec/decord_video_0.mov": 3,
    "codec/decord_video_270.mov": 3,
    "codec/decord_video_90.mov": 3,
    "codec/exo_bear-vp9-odd-dimensions.webm": 30,
    "codec/exo_bear-vp9.webm": 82,
    "codec/exo_dolbyVision-hdr.MOV": 4,
    "codec/exo_portrait_4k60.mp4": 18,
    "codec/exo_sample.avi": 96,
    "codec/exo_sample.flv": 30,
    "codec/exo_sample.mkv": 30,
    "codec/exo_sample_android_slow_motion.mp4": 7,
    "codec/exo_sample_fragmented.mp4": 30,
    "codec/exo_sample_h262_mpeg_audio.ps": 3,
    "codec/exo_sample_h263.ts": 25,
    "codec/exo_sample_partially_fragmented.mp4": 30,
    "codec/exo_sample_sef_slow_motion.mp4": 63,
    "codec/exo_sample_with_htc_rotation_track_name.mkv": 30,
    "codec/exo_testvid_1022ms.mp4": 30,
    "codec/mpy_big_buck_bunny_432_433.webm": 24,
    "codec/mpy_bitmap.mp4": "1x1 pixels a frame, at least 16 a side are needed",
    "codec/mpy_transparent.webm": 150,
    "codec/tc_av1_video.mkv": 125,
    "codec/tc_bt709_full_range.mp4": 30,
    "codec/tc_h264_10bits.mp4": 30,
    "codec/tc_h265_10bits.mp4": 30,
    "codec/tc_h265_video.mp4": 10,
    "codec/tc_nasa_13013.mp4": 325,
}
"""File to the number of its frames, or to why it is refused."""


@pytest.mark.parametrize("name", REAL)
def test_real_file_ends_as_stated(shared_data, name):
    outcome = REAL[name]
    if isinstance(outcome, int):
        assert inspect(shared_data / name).frame_count == outcome
        return
    with pytest.raises(BadMedia, match=f"{name.split('/')[1]}: {outcome}"):
        inspect(shared_data / name)


def test_every_real_file_has_an_outcome(shared_data):
    found = {
        str(path.relative_to(shared_data))
        for folder in ("broken", "broken_crafted", "codec")
        for path in (shared_data / folder).iterdir()
    }
    assert found == REAL.keys()
