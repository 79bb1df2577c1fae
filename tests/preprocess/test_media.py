import errno
import gc
import hashlib
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from preprocess.errors import BadMedia, UnreadableFile
from preprocess.media import Video, clip_frames, inspect, open_video, probe, read_clip, resized_size, to_gray
from tests.preprocess.conftest import frame_numbers, numbered_frames, textured_frames, write_video


def test_inspect_counts_by_decoding(tmp_path):
    info = inspect(write_video(tmp_path / "a.mp4", numbered_frames(30), fps=Fraction(30)))
    assert (info.frame_count, info.width, info.height) == (30, 64, 48)
    assert info.duration_s == pytest.approx(1.0)
    assert info.fps == pytest.approx(30)


def test_same_rate_gives_every_frame(tmp_path):
    frames = read_clip(write_video(tmp_path / "a.mp4", numbered_frames(25)), short_side=48)
    assert frames.shape == (25, 48, 64, 3)
    assert frame_numbers(frames) == list(range(25))


def test_faster_video_is_thinned_by_time(tmp_path):
    frames = read_clip(write_video(tmp_path / "a.mp4", numbered_frames(60), fps=Fraction(50)), short_side=48)
    assert frame_numbers(frames) == list(range(0, 60, 2))


def test_slower_video_repeats_frames(tmp_path):
    frames = read_clip(write_video(tmp_path / "a.mp4", numbered_frames(10), fps=Fraction(10)), short_side=48)
    # frame k is the last one with pts <= k / 25
    assert frame_numbers(frames) == [int(k / 25 * 10) for k in range(25)]


def test_variable_rate_goes_by_presentation_time(tmp_path):
    times = [0, 0.04, 0.08, 0.5, 0.54, 1.0]
    frames = read_clip(write_video(tmp_path / "a.mp4", numbered_frames(6), times_s=times), short_side=48)
    expected = [max(i for i, t in enumerate(times) if t <= k / 25 + 1e-9) for k in range(26)]
    assert frame_numbers(frames)[:26] == expected


def test_times_are_relative_to_the_first_frame(tmp_path):
    times = [5 + k / 25 for k in range(10)]
    path = write_video(tmp_path / "a.mkv", numbered_frames(10), times_s=times, container="matroska")
    assert frame_numbers(read_clip(path, short_side=48)) == list(range(10))


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("begins_s", [0.0, 1.5])
def test_frames_from_a_time_on_are_those_of_the_whole_video(tmp_path, begins_s, absolute):
    times = [begins_s + k / 25 for k in range(75)]
    path = write_video(tmp_path / "a.mkv", numbered_frames(75), times_s=times, container="matroska")
    with open_video(path) as video:
        whole = [time_s for time_s, _ in video.frames(absolute=absolute)]
        later = [time_s for time_s, _ in video.frames(from_s=2, absolute=absolute)]
    assert later == whole[-len(later) :]
    assert 2 - 12 / 25 < later[0] <= 2  # a key frame each 12


def test_time_stamps_rise_where_a_file_has_none_or_repeats_them(tmp_path):
    stamps = [0, 2, 2, 1, None, 9]
    frames = [SimpleNamespace(pts=pts, width=64, height=48, duration=3 * (pts == 1)) for pts in stamps]
    container = SimpleNamespace(decode=lambda stream: frames, format=SimpleNamespace(name="mov,mp4"))
    stream = SimpleNamespace(average_rate=Fraction(25))
    video = Video(path=tmp_path / "a.mp4", container=container, stream=stream, time_base=Fraction(1, 100))
    assert [tick for tick, _ in video.ticks()] == [0, 2, 6, 9]  # one without a time stamp is as long as the others
    assert [video.seconds(frame) for frame in frames[2:4]] == [Fraction(1, 25), Fraction(3, 100)]


def test_max_frames_stops_early(tmp_path):
    assert len(read_clip(write_video(tmp_path / "a.mp4", numbered_frames(25)), short_side=48, max_frames=7)) == 7


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 340, (256, 340)),
        (360, 640, (256, 455)),
        (640, 360, (455, 256)),
        (100, 100, (256, 256)),
        (240, 426, (256, 454)),
    ],
)
def test_resized_size(height, width, expected):
    assert resized_size(height, width, 256) == expected


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_display_matrix_turns_and_mirrors_the_frames(tmp_path, rotation, mirrored):
    frames = textured_frames(4)
    path = write_video(tmp_path / "a.mp4", frames, rotation=rotation, mirrored=mirrored)
    turned = read_clip(path, short_side=48)
    expected = np.rot90(frames, rotation // 90, axes=(1, 2))
    expected = expected[:, :, ::-1] if mirrored else expected
    assert (inspect(path).height, inspect(path).width) == expected.shape[1:3]
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).mean() < 4  # coding noise; unturned it is above 40


def test_decoding_starts_no_threads_and_keeps_no_frames(tmp_path):
    video = write_video(tmp_path / "a.mp4", textured_frames(60), rotation=90)
    gc.collect()
    gc.disable()
    try:
        before = _threads()
        threads = [_threads() for _ in clip_frames(video, fps=Fraction(25), short_side=32)]
        kept = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
    finally:
        gc.enable()
    assert (len(threads), max(threads), kept <= 1) == (60, before, True)


def _threads():
    return len(list(Path("/proc/self/task").iterdir()))


def test_gray_is_bt601_luma():
    red_green_blue = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]], np.uint8)
    assert to_gray(red_green_blue).tolist() == [[[76, 150, 29]]]


def test_probe_reads_the_header(tmp_path):
    assert probe(write_video(tmp_path / "a.mp4", numbered_frames(25))) == (pytest.approx(1.0, abs=0.05), 48, 64)


@pytest.fixture
def whole(tmp_path):
    return write_video(tmp_path / "whole.mp4", textured_frames(50, height=96, width=128), gop=5)


def test_truncated_file_fails(whole, tmp_path):
    cut = tmp_path / "cut.mkv"
    source = write_video(tmp_path / "a.mp4", textured_frames(50, height=96, width=128))
    content = source.read_bytes()
    cut.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(BadMedia, match=r"cut\.mkv: (damaged after|not a video file)"):
        inspect(cut)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\x00" * 5000, "not a video file"),
        (b"<html><body>error</body></html>", "not a video file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n", "not a video file"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "not a video file"),
        (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "not a video file"),
    ],
)
def test_no_video_fails(tmp_path, content, message):
    write_video(tmp_path / "secret.mp4", numbered_frames(10))
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(BadMedia, match=f"clip.mp4: {message}"):
        inspect(path)


@pytest.mark.parametrize("content", [b"no video", None])
def test_disk_that_fails_is_no_bad_media(tmp_path, monkeypatch, whole, content):
    """A demuxer that gets no bytes takes the file for damaged, at its beginning or later on."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole.read_bytes()[:-2000] if content is None else content)

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", failing)
    with pytest.raises(UnreadableFile, match=r"clip\.mp4 cannot be read \(Input/output error\)"):
        inspect(path)


def test_file_that_may_not_be_read_is_no_bad_media(whole, monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(UnreadableFile, match=r"whole\.mp4 may not be read by this user"):
        inspect(whole)


def test_audio_only_fails(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as output:
        sound = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    with pytest.raises(BadMedia, match="no video stream"):
        inspect(path)


def test_single_frame_fails(tmp_path):
    path = write_video(tmp_path / "one.mp4", numbered_frames(1))
    with pytest.raises(BadMedia, match="1 frames decoded, at least 2"):
        inspect(path)
    with pytest.raises(BadMedia, match="1 frames at 25 fps, at least 2 are needed"):
        read_clip(path)


def test_link_and_folder_fail(whole, tmp_path):
    (tmp_path / "link.mp4").symlink_to(whole)
    with pytest.raises(BadMedia, match="a link, which is not followed"):
        inspect(tmp_path / "link.mp4")
    with pytest.raises(BadMedia, match="not a regular file"):
        inspect(tmp_path)


def test_too_large_and_too_small_fail(tmp_path):
    with pytest.raises(BadMedia, match="4112x4096 pixels a frame, at most"):
        inspect(write_video(tmp_path / "big.mp4", np.zeros((1, 4096, 4112, 3), np.uint8)))
    with pytest.raises(BadMedia, match="8x8 pixels a frame, at least 16"):
        inspect(write_video(tmp_path / "small.mp4", np.zeros((2, 8, 8, 3), np.uint8)))


# --- still and black stretches ------------------------------------------------------------------------------------


def as_floats(stretches):
    return [(float(s.start_s), float(s.end_s)) for s in stretches]


def test_stretches_go_by_presentation_time(tmp_path):
    times = [0, 0.5, 3.1, 3.5]
    info = inspect(write_video(tmp_path / "a.mkv", textured_frames(4), times_s=times, container="matroska"))
    assert as_floats(info.frozen) == [(0.5, pytest.approx(3.1))]


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx264", "yuv420p10le"), ("libx264", "yuvj420p"), ("ffv1", "gray"), ("ffv1", "bgr0")]
)
def test_black_is_black_in_every_pixel_format(tmp_path, codec, pixels):
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        for image in np.concatenate([textured_frames(30), np.zeros((50, 48, 64, 3), np.uint8), textured_frames(30)]):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        output.mux(stream.encode(None))
    assert as_floats(inspect(path).black) == as_floats(inspect(path).frozen) == [(1.2, pytest.approx(3.2))]


def test_still_picture_ends_where_the_pixel_format_changes(tmp_path):
    parts = []
    for number, pixels in enumerate(("yuv420p", "yuv444p")):
        parts.append(tmp_path / f"{number}.ts")
        with av.open(parts[-1], "w", format="mpegts") as output:
            stream = output.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
            for index, image in enumerate(textured_frames(1).repeat(60, axis=0)):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = 60 * number + index
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert as_floats(inspect(whole).frozen) == [(0.0, 2.4), (2.4, 4.8)]


# --- real files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("ucf101/v_ApplyEyeMakeup_g01_c01.avi", 164),  # B-frames in AVI, which stores no presentation times
        ("hmdb51/RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72),  # and metadata that is not UTF-8
        ("kinetics/flipping_a_pancake.mkv", 310),
        ("derived/R6ll_vp9_opus.webm", 150),
        ("derived/SOX5_mpeg2_interlaced.ts", 75),
        ("derived/WUzg_vfr_gap.mp4", 118),
        ("codec/tc_av1_video.mkv", 125),
        ("codec/exo_sample_h262_mpeg_audio.ps", 3),
        ("broken_crafted/really_mkv_named.mp4", 310),
    ],
)
def test_real_files_decode_whole(shared_data, name, frames):
    assert inspect(shared_data / name).frame_count == frames


@pytest.mark.parametrize(
    "name",
    [
        "broken/decord_corrupted.mp4",
        "broken/exo_clearkey_encrypted.mp4",
        "broken/exo_vp9_invalid-bitstream.webm",
        "broken/mpy_result_0bytes.webm",
        "broken_crafted/audio_only.mp4",
        "broken_crafted/header_only_32b.mp4",
        "broken_crafted/html_error_page.mp4",
        "broken_crafted/no_moov.mp4",
        "broken_crafted/random_bytes.mp4",
        "broken_crafted/raw_h264_no_container.h264",
        "broken_crafted/truncated_50pct_moov_front.mp4",
        "broken_crafted/zero_bytes.mp4",
        "broken_crafted/zero_frames.mp4",
    ],
)
def test_real_broken_files_fail_by_name(shared_data, name):
    with pytest.raises(BadMedia, match=name.split("/")[1]):
        inspect(shared_data / name)


def test_real_clips_are_neither_frozen_nor_black(shared_data):
    for path in sorted((shared_data / "kinetics").iterdir()):
        info = inspect(path)
        assert (info.frozen, info.black) == ((), ()), path.name


@pytest.mark.parametrize("name", ["decord_video_0.mov", "decord_video_90.mov", "decord_video_270.mov"])
def test_real_rotation_is_the_one_that_opencv_applies(shared_data, name):
    ours = read_clip(shared_data / "codec" / name, short_side=320)
    capture = cv2.VideoCapture(str(shared_data / "codec" / name))
    theirs = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    assert ours[0].shape == theirs.shape
    assert np.abs(ours[0].astype(int) - theirs).mean() < 2


def test_real_rotation_agrees_with_the_unrotated_copy(shared_data):
    turned = read_clip(shared_data / "derived" / "SOX5_rotate90.mp4", max_frames=3)
    plain = read_clip(shared_data / "kinetics" / "SOX5yA1l24A.mp4", max_frames=3)
    assert np.array_equal(np.rot90(plain, 1, axes=(1, 2)), turned)


def test_real_variable_rate_is_resampled_by_time(shared_data):
    # 41 frames are missing from 2 s on: there the picture stands still, and what comes after is on time
    gap = read_clip(shared_data / "derived" / "WUzg_vfr_gap.mp4")
    assert len(gap) == pytest.approx(6.0 * 25, abs=1)
    plain = read_clip(shared_data / "kinetics" / "WUzgd7C1pWA.mp4", max_frames=len(gap)).astype(int)
    difference = np.abs(gap.astype(int) - plain).mean(axis=(1, 2, 3))
    late = difference[100:]
    assert np.median(late) < 4
    still = np.abs(np.diff(gap.astype(int), axis=0)).max(axis=(1, 2, 3)) == 0
    assert still[52:80].all()
