import hashlib
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from preprocess import extract as extract_module
from preprocess.config import FlowConfig
from preprocess.errors import BadMedia, EnvironmentProblem
from preprocess.extract import encode_flow, encode_frame, extract_all
from preprocess.flow import BACKENDS, Tvl1Params, quantise, tvl1
from preprocess.media import read_clip, to_gray
from preprocess.status.work import STAGES
from tests.preprocess.conftest import clip_file, numbered_frames, textured_frames, write_video

CONFIG = FlowConfig(short_side=48, rgb_quality=100, flow_quality=100)


@pytest.fixture
def clip(tmp_path):
    return clip_file(write_video(tmp_path / "x.mp4", textured_frames(6)), folder=tmp_path)


def run(clip, folder, **options):
    """The encoded clip and the work it took; raises what it failed with."""
    (done,) = extract_all([(clip, 3)], folder, config=CONFIG, backend="opencv", **options)
    if isinstance(done.result, BadMedia):
        raise done.result
    return done.result, done.work


def test_frames_and_flow_are_those_of_the_clip(clip, tmp_path):
    encoded, _ = run(clip, tmp_path)
    frames = read_clip(tmp_path / "x.mp4", short_side=48)
    assert (len(encoded.rgb), len(encoded.flow)) == (len(frames), len(frames) - 1)
    shown = cv2.imdecode(np.frombuffer(encoded.rgb[2], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(shown.astype(int) - frames[2]).mean() < 1.5
    expected = quantise(tvl1(to_gray(frames), backend="opencv"))[2].reshape(96, 64)
    codes = cv2.imdecode(np.frombuffer(encoded.flow[2], np.uint8), cv2.IMREAD_UNCHANGED)
    assert codes.shape == (96, 64)
    assert np.abs(codes.astype(int) - expected).max() <= 2


def test_motion_to_the_right_stands_in_the_upper_half(clip, tmp_path):
    encoded, _ = run(clip, tmp_path)
    codes = cv2.imdecode(np.frombuffer(encoded.flow[2], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.median(codes[:48]) == 134  # 1 px is 6.35 codes above 128
    assert np.median(codes[48:]) == 128


def test_row_values(clip, tmp_path):
    encoded, _ = run(clip, tmp_path)
    assert (encoded.key, encoded.label, encoded.height, encoded.width) == ("x", 3, 48, 64)
    assert (encoded.time_start, encoded.time_end) == (0.0, 1.0)


def test_each_stage_is_timed_and_pairs_are_counted(clip, tmp_path):
    _, work = run(clip, tmp_path, max_frames=4)
    assert (work.frames, work.flow_pairs, work.bytes) == (4, 3, 0)
    assert tuple(work.seconds) == STAGES["flow"]
    assert min(work.seconds.values()) > 0


def test_frame_is_baseline_420_jpeg():
    content = encode_frame(textured_frames(1)[0], quality=95)
    assert b"\xff\xc0" in content  # baseline, which every hardware decoder takes
    header = content.index(b"\xff\xc0")
    assert content[header + 11] == 0x22  # luma sampled 2 x 2, so chroma is halved both ways


def test_flow_is_gray_jpeg():
    content = encode_flow(np.full((2, 48, 64), 128, np.uint8), quality=95)
    assert content[content.index(b"\xff\xc0") + 9] == 1  # one component


def test_too_long_clip_fails(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "MAX_SECONDS", 0.1)
    with pytest.raises(BadMedia, match=r"longer than 120 s; trim it first"):
        run(clip, tmp_path)


def test_clip_of_the_greatest_length_is_taken_at_a_rate_that_does_not_divide_it(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "MAX_SECONDS", Fraction(6, 25))
    config = replace(CONFIG, fps=Fraction(30000, 1001))
    (done,) = extract_all([(clip, 3)], tmp_path, config=config, backend="opencv")
    assert len(done.result.rgb) == 8  # at 7/fps it is still shown, at 8/fps no more


def test_clip_is_the_file_that_the_manifest_names(clip, tmp_path):
    path = tmp_path / "x.mp4"
    named = replace(clip, fingerprint=hashlib.sha256(path.read_bytes()).hexdigest())
    encoded, _ = run(named, tmp_path)
    assert encoded == run(clip, tmp_path)[0]
    write_video(path, textured_frames(6, seed=1))
    with pytest.raises(EnvironmentProblem, match=r"x\.mp4 is not the file that manifest\.jsonl names: put"):
        run(named, tmp_path)


def test_single_frame_fails(tmp_path):
    clip = clip_file(write_video(tmp_path / "one.mp4", numbered_frames(1)), folder=tmp_path)
    with pytest.raises(BadMedia, match="at least 2"):
        run(clip, tmp_path)


def compute_at_once(monkeypatch, clips):
    monkeypatch.setitem(extract_module.BACKENDS, "opencv", replace(BACKENDS["opencv"], clips_at_once=clips))


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("helpers", [1, 3, 20])
def test_helpers_change_nothing_but_the_time(tmp_path, helpers, at_once, monkeypatch):
    compute_at_once(monkeypatch, at_once)
    clips = []
    for index in range(7):
        path = tmp_path / f"{index}.mp4"
        if index in {2, 6}:
            path.write_bytes(b"no video")
        else:
            write_video(path, textured_frames(3 + index, seed=index))
        clips.append((clip_file(path, folder=tmp_path), index))
    config = replace(CONFIG, tvl1=Tvl1Params(scales=1, warps=1, outer_iterations=1))  # any flow will do
    alone, helped = (
        list(extract_all(clips, tmp_path, config=config, backend="opencv", helpers=count)) for count in (0, helpers)
    )
    assert [done.clip.key for done in helped] == [str(index) for index in range(7)]
    for one, other in zip(alone, helped, strict=True):
        if isinstance(one.result, BadMedia):
            assert str(one.result) == str(other.result)
        else:
            assert one.result == other.result


def test_helpers_work_while_flow_is_computed(tmp_path, monkeypatch):
    import threading

    clips = [(clip_file(write_video(tmp_path / f"{i}.mp4", textured_frames(3)), folder=tmp_path), 0) for i in range(3)]
    decoded = [threading.Event() for _ in clips]
    real = extract_module.read_clip

    def decode(path, **options):
        frames = real(path, **options)
        decoded[int(path.stem)].set()
        return frames

    def flow(gray_THW, *arguments, **options):
        assert decoded[1].wait(30)  # while the first clip's flow is under way, the second one is decoded
        return np.zeros((len(gray_THW) - 1, 2, *gray_THW.shape[1:]), np.float32)

    monkeypatch.setattr(extract_module, "read_clip", decode)
    monkeypatch.setattr(extract_module, "tvl1_codes", flow)
    assert len(list(extract_all(clips, tmp_path, config=CONFIG, backend="opencv", helpers=2))) == 3


def test_flow_of_as_many_clips_at_once_as_the_backend_likes(tmp_path, monkeypatch):
    import threading

    clips = [(clip_file(write_video(tmp_path / f"{i}.mp4", textured_frames(3)), folder=tmp_path), 0) for i in range(6)]
    together = threading.Barrier(3)
    most = threading.Semaphore(3)

    def flow(gray_THW, *arguments, **options):
        assert most.acquire(blocking=False)
        together.wait(30)
        most.release()
        return np.zeros((len(gray_THW) - 1, 2, *gray_THW.shape[1:]), np.float32)

    compute_at_once(monkeypatch, 3)
    monkeypatch.setattr(extract_module, "tvl1_codes", flow)
    done = list(extract_all(clips, tmp_path, config=CONFIG, backend="opencv", helpers=1))
    assert [extraction.clip.key for extraction in done] == [str(i) for i in range(6)]


@pytest.mark.parametrize(("helpers", "at_once", "most"), [(0, 3, 1), (1, 1, 3), (3, 1, 7), (3, 3, 9)])
def test_clips_on_the_way_are_those_before_in_and_after_the_flow(tmp_path, helpers, at_once, most, monkeypatch):
    path = tmp_path / "0.mp4"
    path.write_bytes(b"no video")
    file, begun = clip_file(path, folder=tmp_path), []

    def clips():
        for index in range(30):
            begun.append(index)
            yield file, index

    compute_at_once(monkeypatch, at_once)
    extracted = extract_all(clips(), tmp_path, config=CONFIG, backend="opencv", helpers=helpers)
    assert max(len(begun) - ended for ended, _ in enumerate(extracted)) == most


@pytest.mark.parametrize("at_once", [1, 3])
def test_other_errors_end_the_extraction(clip, tmp_path, monkeypatch, at_once):
    compute_at_once(monkeypatch, at_once)

    def broken(*arguments, **options):
        raise EnvironmentProblem("the GPU is gone")

    monkeypatch.setattr(extract_module, "tvl1_codes", broken)
    with pytest.raises(EnvironmentProblem, match="the GPU is gone"):
        run(clip, tmp_path, helpers=2)
