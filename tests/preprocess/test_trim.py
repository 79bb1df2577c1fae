from fractions import Fraction

import av
import numpy as np
import pytest

from preprocess.errors import BadMedia, Cause, InvalidInput
from preprocess.media import inspect, open_video, read_clip
from preprocess.trim import TIME_BASE, _upright_even_420, trim
from tests.preprocess.conftest import frame_numbers, numbered_frames, textured_frames, write_video


@pytest.fixture
def target(tmp_path):
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("gop", [1, 12, 250])
def test_trim_is_exact_to_the_frame(tmp_path, target, gop):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(100), gop=gop), target, start_s=1, end_s=3)
    assert frame_numbers(read_clip(target, short_side=48)) == list(range(25, 75))
    assert inspect(target).duration_s == pytest.approx(2.0)
    with av.open(
        target
    ) as container:  # key frames are not those of the source: the first, and one where x264 sees a cut
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) <= 2


def test_trim_keeps_the_frame_rate(tmp_path, target):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(90), fps=Fraction(30)), target, start_s=1, end_s=2)
    info = inspect(target)
    assert (info.frame_count, info.duration_s) == (30, pytest.approx(1.0))


def test_frame_shown_at_the_start_comes_first(tmp_path, target):
    times = [0, 0.9, 1.4, 1.8, 2.6]
    trim(write_video(tmp_path / "a.mp4", numbered_frames(5), times_s=times), target, start_s=1, end_s=2)
    # at second 1 the frame of 0.9 is on the screen; the last one stays until second 2, not until its own end
    frames = frame_numbers(read_clip(target, short_side=48))
    assert frames == [1] * 10 + [2] * 10 + [3] * 5


def test_picture_that_stands_still_throughout_is_kept(tmp_path, target):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(3), times_s=[0.0, 0.5, 9.0]), target, start_s=2, end_s=4)
    with pytest.raises(BadMedia, match="1 frames decoded, at least 2"):  # by trim; as a clip it shows no motion
        inspect(target)


def test_last_frame_is_shown_for_its_own_time(tmp_path, target):
    source = write_video(tmp_path / "a.mp4", numbered_frames(3), fps=Fraction(1))
    trim(source, target, start_s=2.5, end_s=4)
    assert set(frame_numbers(read_clip(target, short_side=48))) == {2}
    with pytest.raises(BadMedia, match="nothing is shown between seconds 3 and 4"):
        trim(source, target, start_s=3, end_s=4)


def test_end_beyond_the_video_keeps_what_there_is(tmp_path, target):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(50)), target, start_s=1, end_s=9)
    assert frame_numbers(read_clip(target, short_side=48)) == list(range(25, 50))


def test_damage_before_the_wanted_seconds_is_passed_over(tmp_path, target):
    source = write_video(tmp_path / "a.mp4", textured_frames(60), gop=12)
    with av.open(source) as container:
        early = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][2:5]
    content = bytearray(source.read_bytes())
    for start, size in early:
        content[start : start + size] = b"\xff" * size
    source.write_bytes(content)
    trim(source, target, start_s=1, end_s=2)
    assert inspect(target).frame_count == 25
    with pytest.raises(BadMedia, match="damaged"):
        trim(source, target, start_s=0, end_s=1)


def test_frames_closer_than_a_tick_keep_their_order(tmp_path, target):
    source = write_video(tmp_path / "a.mp4", numbered_frames(60))
    trim(source, target, start_s=0.999_999, end_s=2)  # the frame of second 1 begins less than half a tick later
    with open_video(target) as video:
        ticks, frames = zip(*video.ticks(), strict=True)
        pixels_THW3 = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    assert [round(tick * video.time_base / TIME_BASE) for tick in ticks[:4]] == [0, 1, 3600, 7200]
    assert frame_numbers(pixels_THW3) == list(range(24, 50))


def test_container_is_mp4_whatever_the_name(tmp_path):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(30)), tmp_path / "clip.part", start_s=0, end_s=1)
    assert (tmp_path / "clip.part").read_bytes()[4:8] == b"ftyp"


def test_section_counts_from_the_whole_video(tmp_path, target):
    times = [4 + k / 25 for k in range(75)]
    section = write_video(tmp_path / "a.mkv", numbered_frames(75), times_s=times, container="matroska")
    trim(section, target, start_s=5, end_s=6, absolute=True)
    assert frame_numbers(read_clip(target, short_side=48)) == list(range(25, 50))


def test_section_that_begins_late_fails(tmp_path, target):
    times = [5.5 + k / 25 for k in range(30)]
    section = write_video(tmp_path / "a.mkv", numbered_frames(30), times_s=times, container="matroska")
    with pytest.raises(BadMedia, match=r"begins at second 5\.50, after second 5"):
        trim(section, target, start_s=5, end_s=6, absolute=True)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_and_mirroring_are_baked_in(tmp_path, target, rotation, mirrored):
    frames = textured_frames(30)
    source = write_video(tmp_path / "a.mp4", frames, rotation=rotation, mirrored=mirrored)
    trim(source, target, start_s=0, end_s=1)
    expected = np.rot90(frames[:25], rotation // 90, axes=(1, 2))
    expected = expected[:, :, ::-1] if mirrored else expected
    assert np.abs(read_clip(target, short_side=48).astype(int) - expected).mean() < 5


@pytest.mark.parametrize(("colorspace", "color_range"), [(1, 1), (5, 2), (1, 2)])
def test_colours_are_those_of_the_source(tmp_path, target, colorspace, color_range):
    # BT.709 (1) or BT.601 (5), limited (1) or full (2) range
    source = tmp_path / "a.mp4"
    colours = np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    with av.open(source, "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(colours[0], format="rgb24").reformat(
                format="yuv420p", dst_colorspace=colorspace, dst_color_range=color_range
            )
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    trim(source, target, start_s=0, end_s=1)
    before, after = (read_clip(path, short_side=48).astype(int) for path in (source, target))
    assert np.abs(before - colours).mean() < 6  # the video is what this test says it is
    assert np.abs(before - after).mean() < 2


def test_sound_is_dropped(tmp_path, target):
    trim(write_video(tmp_path / "a.mp4", numbered_frames(30), audio=True), target, start_s=0, end_s=1)
    with av.open(target) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_odd_sizes_lose_one_pixel(shared_data, target):
    trim(shared_data / "codec" / "exo_bear-vp9-odd-dimensions.webm", target, start_s=0, end_s=1)
    info = inspect(target)
    assert (info.width, info.height, info.duration_s) == (160, 120, pytest.approx(1.0))


def test_same_input_same_bytes(tmp_path, target):
    source = write_video(tmp_path / "a.mp4", textured_frames(30))
    contents = []
    for _ in range(2):
        trim(source, target, start_s=0, end_s=1)
        contents.append(target.read_bytes())
    assert contents[0] == contents[1]


def test_nothing_there_fails(tmp_path, target):
    with pytest.raises(BadMedia, match="nothing is shown between seconds 5 and 6") as caught:
        trim(write_video(tmp_path / "a.mp4", numbered_frames(50)), target, start_s=5, end_s=6)
    assert caught.value.cause is Cause.TOO_SHORT


@pytest.mark.parametrize(("start_s", "end_s"), [(2, 1), (1, 1), (-1, 1)])
def test_reversed_times_fail(tmp_path, target, start_s, end_s):
    with pytest.raises(InvalidInput, match=f"cannot trim from {start_s} s to {end_s} s"):
        trim(tmp_path / "a.mp4", target, start_s=start_s, end_s=end_s)


@pytest.mark.parametrize(
    ("name", "start_s", "end_s"),
    [("ucf101/v_ApplyEyeMakeup_g01_c01.avi", 2, 5), ("derived/SOX5_mpeg2_interlaced.ts", 1, 2)],
)
def test_real_containers_without_a_good_index(shared_data, target, name, start_s, end_s):
    trim(shared_data / name, target, start_s=start_s, end_s=end_s)
    whole = read_clip(shared_data / name).astype(int)
    clip = read_clip(target).astype(int)
    assert len(clip) == (end_s - start_s) * 25
    distance = [
        np.abs(clip - whole[first : first + len(clip)]).mean() for first in range(start_s * 25 - 2, start_s * 25 + 1)
    ]
    assert min(distance) == distance[-1] < 3


def test_filters_start_no_threads():
    assert _upright_even_420(av.VideoFrame(64, 48, "yuv420p"), Fraction(1, 25)).threads == 1
