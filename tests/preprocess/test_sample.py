import csv
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from preprocess.errors import InvalidInput
from preprocess.sample import MAX_ZOOM, MOTIONS, SampleConfig, make_sample, read_flow

SMALL = SampleConfig(
    videos_per_class=1, val_per_class=1, width=64, height=48, duration_s=2, clip_start_s=0, clip_end_s=1
)
MARGIN = 10
"""Pixels at the edge whose content leaves the frame or comes from outside; faster than any test video."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """One scene of the default size, in each class."""
    return make_sample(tmp_path_factory.mktemp("sample"), config=SampleConfig(videos_per_class=1, val_per_class=0))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two small scenes, one of each split, in each class."""
    return make_sample(tmp_path_factory.mktemp("small"), config=SMALL)


@pytest.fixture(scope="module")
def frames_of(sample):
    """Class name -> its decoded video, uint8 [T, H, W, 3]."""
    return {row["label"]: _decode(sample.videos_folder / f"{row['youtube_id']}.mp4") for row in _rows(sample)}


@pytest.fixture(scope="module")
def flow_of(sample):
    """Class name -> its true flow."""
    return {row["label"]: read_flow(_flow_path(sample, row)) for row in _rows(sample)}


def _rows(summary):
    with summary.list_path.open(newline="") as file:
        return list(csv.DictReader(file))


def _flow_path(summary, row):
    return summary.videos_folder / f"{row['youtube_id']}.flow.npz"


def _decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _gray(frame_HW3):
    return cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2GRAY)


def _interior(image):
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _divergence_and_curl(flow_2HW):
    (du_dy, du_dx), (dv_dy, dv_dx) = (np.gradient(part_HW) for part_HW in flow_2HW)
    return (du_dx + dv_dy).mean(), (dv_dx - du_dy).mean()


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        make_sample(tmp_path / name, config=SMALL)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_another_seed_gives_other_files(tmp_path):
    for seed in (0, 1):
        make_sample(tmp_path / str(seed), config=SampleConfig(**{**vars(SMALL), "seed": seed}))
    videos = [_files(tmp_path / str(seed) / "videos") for seed in (0, 1)]
    assert not videos[0].keys() & videos[1].keys()
    contents = [{content for name, content in files.items() if name.endswith(".mp4")} for files in videos]
    assert not contents[0] & contents[1]


def test_list_is_a_kinetics_400_list(small):
    lines = small.list_path.read_text().splitlines()
    assert lines[0] == "label,youtube_id,time_start,time_end,split,is_cc"
    row = re.compile(r'"[a-z]+ [a-z]+",[0-9A-Za-z_-]{11},0,1,(train|val),0')
    assert all(row.fullmatch(line) for line in lines[1:])


def test_every_class_has_the_promised_videos_in_each_split(tmp_path):
    config = SampleConfig(**{**vars(SMALL), "videos_per_class": 2})
    summary = make_sample(tmp_path, config=config)
    found = sorted((row["label"], row["split"]) for row in _rows(summary))
    assert found == sorted((label, split) for label in MOTIONS for split in ("train", "train", "val"))
    assert (summary.train_videos, summary.val_videos, summary.classes) == (16, 8, 8)


def test_ids_are_unique_and_one_starts_with_a_dash(small):
    ids = [row["youtube_id"] for row in _rows(small)]
    assert len(set(ids)) == len(ids)
    assert any(youtube_id.startswith("-") for youtube_id in ids)


def test_every_file_is_listed_and_counted(small):
    ids = [row["youtube_id"] for row in _rows(small)]
    expected = {"list.csv"} | {f"videos/{i}{suffix}" for i in ids for suffix in (".mp4", ".flow.npz")}
    files = _files(small.list_path.parent)
    assert set(files) == expected
    assert small.total_bytes == sum(map(len, files.values()))


def test_files_of_others_stay(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").write_bytes(b"mine")
    make_sample(tmp_path, config=SMALL)
    assert (tmp_path / "videos" / "mine.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize(("fps", "frames"), [(Fraction(25), 50), (Fraction(30000, 1001), 60), (Fraction(25, 2), 25)])
def test_video_has_the_frames_size_and_rate_of_the_config(tmp_path, fps, frames):
    config = SampleConfig(**{**vars(SMALL), "fps": fps})
    summary = make_sample(tmp_path, config=config)
    path = summary.videos_folder / f"{_rows(summary)[0]['youtube_id']}.mp4"
    assert _decode(path).shape == (frames, 48, 64, 3)
    assert summary.frames_per_video == frames
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_index_of_a_video_comes_first(sample):
    content = next(iter(sample.videos_folder.glob("*.mp4"))).read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("label", MOTIONS)
def test_flow_takes_a_frame_to_the_next(label, frames_of, flow_of):
    # Lanczos: OpenCV's cubic kernel is itself off by up to 0.047 px
    flow_2HW = flow_of[label]
    y_HW, x_HW = np.mgrid[: flow_2HW.shape[1], : flow_2HW.shape[2]].astype(np.float32)
    gray_THW = [_gray(frame).astype(np.float32) for frame in frames_of[label][::6]]
    next_THW = [_gray(frame).astype(np.float32) for frame in frames_of[label][1::6]]
    for now_HW, next_HW in zip(gray_THW, next_THW, strict=False):
        back_HW = cv2.remap(next_HW, x_HW + flow_2HW[0], y_HW + flow_2HW[1], cv2.INTER_LANCZOS4)
        warped, still = (np.abs(_interior(image - now_HW)).mean() for image in (back_HW, next_HW))
        # measured: 0.9 to 1.4 gray levels (the coding noise of two frames), at most 0.28 of the unwarped
        assert warped < 2
        assert warped < 0.35 * still


def test_flow_still_holds_where_the_scene_repeats(tmp_path):
    long = SampleConfig(**{**vars(SMALL), "duration_s": 12, "val_per_class": 0, "speed_px": (8, 8)})
    summary = make_sample(tmp_path, config=long)
    row = next(row for row in _rows(summary) if row["label"] == "moving left")
    *_, now_HW3, last_HW3 = _decode(summary.videos_folder / f"{row['youtube_id']}.mp4").astype(int)
    assert np.abs(np.diff(last_HW3, axis=1)).mean() > 5  # there is a picture at all, 2300 px from the start
    assert np.abs(last_HW3[:, :-8] - now_HW3[:, 8:]).mean() < 2.5


@pytest.mark.parametrize("label", MOTIONS)
def test_tvl1_of_opencv_finds_the_flow(label, frames_of, flow_of):
    gray_THW = [_gray(frame) for frame in frames_of[label][[50, 51]]]
    error_2HW = cv2.optflow.DualTVL1OpticalFlow_create().calc(*gray_THW, None).transpose(2, 0, 1) - flow_of[label]
    # measured: 0.016 to 0.031 px by class, 0.056 px for the worst pair of frames
    assert _interior(np.hypot(*error_2HW)).mean() < 0.1


@pytest.mark.parametrize("label", MOTIONS)
def test_flow_is_nowhere_biased(label, frames_of, flow_of):
    """The affine error that least squares finds in the true flow is, over the video, coding noise."""
    flow_2HW = flow_of[label]
    y_HW, x_HW = np.mgrid[: flow_2HW.shape[1], : flow_2HW.shape[2]].astype(np.float32)
    basis = [np.ones_like(x_HW), x_HW / x_HW.max() - 0.5, y_HW / y_HW.max() - 0.5]
    errors = []
    for now_HW3, next_HW3 in list(pairwise(frames_of[label]))[::3]:
        now_HW, next_HW = (_gray(frame).astype(np.float32) for frame in (now_HW3, next_HW3))
        back_HW = cv2.remap(next_HW, x_HW + flow_2HW[0], y_HW + flow_2HW[1], cv2.INTER_LANCZOS4)
        dy_HW, dx_HW = np.gradient((now_HW + back_HW) / 2)
        columns = [_interior(slope * term).ravel() for slope in (dx_HW, dy_HW) for term in basis]
        errors.append(np.linalg.lstsq(np.stack(columns, axis=1), _interior(now_HW - back_HW).ravel())[0])
    # measured: at most 0.015 px; 0.05 px where interpolation errors do not cancel
    assert np.abs(np.mean(errors, axis=0)).max() < 0.03


@pytest.mark.parametrize(
    ("label", "right", "down"),
    [("moving left", -1, 0), ("moving right", 1, 0), ("moving up", 0, -1), ("moving down", 0, 1)],
)
def test_moving_names_the_direction_on_screen(label, right, down, flow_of):
    u, v = flow_of[label].mean(axis=(1, 2))
    assert (np.sign(u), np.sign(v)) == (right, down)


@pytest.mark.parametrize(("label", "sign"), [("zooming in", 1), ("zooming out", -1)])
def test_zooming_in_expands_from_the_centre(label, sign, flow_of):
    divergence, curl = _divergence_and_curl(flow_of[label])
    assert divergence * sign > 0.01
    assert abs(curl) < 1e-6
    assert np.abs(flow_of[label].mean(axis=(1, 2))).max() < 1e-4


@pytest.mark.parametrize(("label", "sign"), [("rotating clockwise", 1), ("rotating counterclockwise", -1)])
def test_clockwise_is_as_seen_on_screen(label, sign, flow_of):
    flow_2HW = flow_of[label]
    _, curl = _divergence_and_curl(flow_2HW)
    assert curl * sign > 0.01
    right_of_centre_v = flow_2HW[1, flow_2HW.shape[1] // 2, -1]  # clockwise: what is on the right goes down
    assert right_of_centre_v * sign > 0
    assert np.abs(flow_2HW.mean(axis=(1, 2))).max() < 1e-4


def test_affine_and_flow_are_the_same_motion(sample):
    for row in _rows(sample):
        with np.load(_flow_path(sample, row)) as truth:
            flow_2HW, affine_23 = truth["flow"], truth["affine"]
        assert (flow_2HW.dtype, flow_2HW.shape) == (np.float32, (2, 96, 128))
        point = np.array([100, 20])
        assert np.allclose(affine_23 @ [*point, 1], point + flow_2HW[:, 20, 100], atol=1e-5)


def test_every_video_has_its_own_speed_within_the_range(flow_of):
    # a chord is a little shorter than the arc, and the way back in a little shorter than the way out
    speeds = [np.hypot(*flow_2HW).max() for flow_2HW in flow_of.values()]
    assert len({round(float(speed), 4) for speed in speeds}) == len(speeds)
    assert min(speeds) > 0.97
    assert max(speeds) < 1.7501


def test_a_scene_looks_the_same_in_every_class(frames_of):
    """The middle frame of the clip (second 1 to 3, so frame 50) is one picture, whatever the motion."""
    middle_NHW3 = np.stack([frames[50] for frames in frames_of.values()]).astype(np.float32)
    # measured: 1.3 gray levels of coding noise, against some 30 between scenes
    assert np.abs(middle_NHW3 - middle_NHW3.mean(axis=0)).mean(axis=(1, 2, 3)).max() < 2.5


def test_scenes_differ(small):
    first, other = (
        _decode(small.videos_folder / f"{row['youtube_id']}.mp4")[12].astype(np.float32)
        for row in _rows(small)
        if row["label"] == "moving left"
    )
    assert np.abs(first - other).mean() > 15


def test_a_zoom_keeps_the_contrast_of_the_scene(frames_of):
    """Scenes look alike at every scale: no class can be told by how blurred or busy its frames are."""
    detail = {
        label: np.mean([np.abs(np.diff(_gray(frame).astype(np.float32))).mean() for frame in frames[25:75:5]])
        for label, frames in frames_of.items()
    }
    still = detail["moving left"]
    # measured over six scenes: 0.96 of it
    assert detail["zooming in"] == pytest.approx(still, rel=0.2)
    assert detail["zooming out"] == pytest.approx(still, rel=0.2)


def test_long_zooms_stay_within_the_limit(tmp_path):
    config = SampleConfig(**{**vars(SMALL), "duration_s": 12, "val_per_class": 0, "speed_px": (4, 4)})
    summary = make_sample(tmp_path, config=config)
    row = next(row for row in _rows(summary) if row["label"] == "zooming in")
    with np.load(_flow_path(summary, row)) as truth:
        factor = truth["affine"][0, 0]
    frames_after_the_middle_of_the_clip = 12 * 25 - 1 - 12
    assert factor**frames_after_the_middle_of_the_clip == pytest.approx(MAX_ZOOM)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"videos_per_class": 0}, r"videos_per_class of a sample is 1 to 10000, got 0"),
        ({"val_per_class": -1}, r"val_per_class of a sample is 0 to 10000, got -1"),
        ({"width": 30}, r"width of a sample is 32 to 640, got 30"),
        ({"height": 642}, r"height of a sample is 32 to 640, got 642"),
        ({"height": 97}, r"even \(4:2:0 video\), got 128x97"),
        ({"fps": Fraction(0)}, r"fps of a sample is 1 to 120, got 0"),
        ({"duration_s": 61}, r"duration_s of a sample is 1 to 60, got 61"),
        ({"seed": -1}, r"seed of a sample is 0 to \d+, got -1"),
        ({"clip_end_s": 4}, r"inside the video, 0 to 3 s, got 1 to 4 s"),
        ({"clip_start_s": 3}, r"inside the video, 0 to 3 s, got 3 to 3 s"),
        ({"speed_px": (2.0, 1.0)}, r"slowest and fastest, .* got 2.0 and 1.0"),
        ({"speed_px": (0.0, 1.0)}, r"slowest and fastest, .* got 0.0 and 1.0"),
        ({"speed_px": (1.0, float("nan"))}, r"slowest and fastest, .* got 1.0 and nan"),
    ],
)
def test_wrong_config_fails(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        SampleConfig(**wrong)


def test_folder_that_is_a_file_fails(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInput, match=r"taken is a file; name a folder"):
        make_sample(tmp_path / "taken", config=SMALL)


@pytest.mark.parametrize("content", [None, b"", b"no flow", b"PK\x03\x04 broken"])
def test_reading_what_is_no_flow_fails(tmp_path, content):
    path = Path(tmp_path / "x.flow.npz")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"x\.flow\.npz is not the flow of a sample video"):
        read_flow(path)
