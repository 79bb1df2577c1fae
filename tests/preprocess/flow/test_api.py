import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from preprocess.errors import DeviceDead, DeviceLost, EnvironmentProblem, InvalidInput
from preprocess.flow import (
    BACKENDS,
    Tvl1Params,
    answering,
    api,
    available_backends,
    cuda,
    opencv_cuda_params,
    quantise,
    resolve_backend,
    tvl1,
    tvl1_codes,
    tvl1_many,
)
from preprocess.flow.cuda_device import OutOfDeviceMemory
from preprocess.media import read_clip, to_gray
from preprocess.sample import SampleConfig, make_sample, read_flow
from tests.preprocess.conftest import textured_frames


@pytest.fixture
def moving():
    """Gray frames that move 1 px to the right."""
    return to_gray(textured_frames(3, height=48, width=64))


@pytest.mark.parametrize("backend", BACKENDS)
def test_motion_to_the_right_is_positive_u(moving, backend):
    if backend not in available_backends():
        pytest.skip(f"{backend} needs {BACKENDS[backend].needs}")
    flow_T2HW = tvl1(moving, backend=backend)
    assert flow_T2HW.dtype == np.float32
    assert flow_T2HW.shape == (2, 2, 48, 64)
    assert np.abs(np.median(flow_T2HW[:, 0]) - 1) < 0.05
    assert np.abs(np.median(flow_T2HW[:, 1])) < 0.05


def test_opencv_backend_is_opencv(moving):
    expected = cv2.optflow.DualTVL1OpticalFlow_create().calc(moving[0], moving[1], None)
    assert np.array_equal(tvl1(moving[:2], backend="opencv")[0], expected.transpose(2, 0, 1))


def test_opencv_backend_takes_the_parameters(moving):
    solver = cv2.optflow.DualTVL1OpticalFlow_create(warps=1, medianFiltering=1, nscales=2, lambda_=0.05)
    params = Tvl1Params(warps=1, median=1, scales=2, lambda_=0.05)
    expected = solver.calc(moving[0], moving[1], None).transpose(2, 0, 1)
    assert np.array_equal(tvl1(moving[:2], params, backend="opencv")[0], expected)


@pytest.mark.parametrize("params", [opencv_cuda_params(), Tvl1Params(check_every=2)], ids=["convention", "stop test"])
def test_opencv_backend_refuses_what_it_does_not_have(moving, params):
    with pytest.raises(InvalidInput, match="has convention 'opencv-cpu' with check_every 1 only, got convention"):
        tvl1(moving, params, backend="opencv")


def test_flow_of_the_sample_is_near_its_truth(tmp_path):
    summary = make_sample(
        tmp_path, config=SampleConfig(videos_per_class=1, val_per_class=1, duration_s=2, clip_end_s=2)
    )
    for path in sorted(summary.videos_folder.glob("*.mp4"))[::5]:
        flow_T2HW = tvl1(to_gray(read_clip(path, short_side=96, max_frames=3)))
        error = np.linalg.norm(flow_T2HW - read_flow(path.with_suffix(".flow.npz")), axis=1)
        assert error[:, 10:-10, 10:-10].mean() < 0.1  # measured: 0.016 to 0.031 by OpenCV


def test_codes_are_quantised_flow(moving):
    assert np.array_equal(tvl1_codes(moving), quantise(tvl1(moving)))


def test_codes_of_a_long_clip_come_from_a_few_pairs_at_a_time(monkeypatch):
    frames_THW = np.random.default_rng(0).integers(0, 256, (150, 16, 16), dtype=np.uint8)
    asked = []

    def differences(frames_THW, params, *, threads):
        asked.append(len(frames_THW))
        return np.repeat(np.diff(frames_THW.astype(np.float32), axis=0)[:, None] / 10, 2, axis=1)

    monkeypatch.setitem(BACKENDS, "cpu", replace(BACKENDS["cpu"], flow_of_clip=differences))
    codes_T2HW = tvl1_codes(frames_THW, backend="cpu")
    assert asked == [65, 65, 22]
    assert np.array_equal(codes_T2HW, quantise(tvl1(frames_THW, backend="cpu")))


def test_a_backend_that_quantises_is_asked_to(moving, monkeypatch):
    codes = np.full((2, 2, 48, 64), 7, np.uint8)
    backend = replace(BACKENDS["cpu"], codes_of_clip=lambda frames_THW, params, *, threads: codes)
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    assert tvl1_codes(moving, backend="cpu") is codes


def test_a_backend_that_takes_many_clips_is_asked_to(moving, monkeypatch):
    flows = [np.zeros((2, 2, 48, 64), np.float32)]
    backend = replace(BACKENDS["cpu"], flow_of_clips=lambda clips, params: flows)
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    assert tvl1_many([moving], backend="cpu") is flows


def test_a_gpu_gets_several_clips_at_a_time():
    assert BACKENDS["cuda"].flow_of_clips is cuda.flow_of_clips
    assert BACKENDS["cuda"].clips_at_once > 1


def test_many_is_one_by_one(moving):
    short = moving[:2, :32, :40]
    many = tvl1_many([moving, short])
    assert np.array_equal(many[0], tvl1(moving))
    assert np.array_equal(many[1], tvl1(short))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((3, 32, 32), np.float32), "got float32"),
        (np.zeros((3, 32, 32, 3), np.uint8), r"got uint8 \(3, 32, 32, 3\)"),
        (np.zeros((1, 32, 32), np.uint8), r"at least 2, .* got shape \(1, 32, 32\)"),
        (np.zeros((2, 15, 32), np.uint8), "at least 16 x 16 px"),
        ([[1]], "got list"),
    ],
)
@pytest.mark.parametrize(
    "function", [tvl1, tvl1_codes, lambda frames: tvl1_many([frames])], ids=["one", "codes", "many"]
)
def test_wrong_frames_fail(function, frames, message):
    with pytest.raises(InvalidInput, match=message):
        function(frames)


@pytest.mark.parametrize("function", [tvl1, tvl1_codes])
def test_no_threads_fail(function, moving):
    with pytest.raises(InvalidInput, match="threads must be at least 1, got 0"):
        function(moving, threads=0)


def test_no_clips_fail():
    with pytest.raises(InvalidInput, match="at least one clip, got none"):
        tvl1_many([])


def test_unknown_backend_fails(moving):
    with pytest.raises(InvalidInput, match="'nvof' is unknown; use auto, "):
        tvl1(moving, backend="nvof")


def test_backend_that_cannot_run_fails_and_is_not_replaced(monkeypatch):
    monkeypatch.setitem(api.BACKENDS, "opencv", replace(BACKENDS["opencv"], is_available=lambda: False))
    with pytest.raises(EnvironmentProblem, match="pip install opencv-contrib-python-headless"):
        resolve_backend("opencv")


def test_gpu_is_not_replaced_by_a_cpu(monkeypatch):
    no_gpu = replace(BACKENDS["cuda"], is_available=lambda: False)
    monkeypatch.setattr(api, "BACKENDS", {"cuda": no_gpu, "opencv": BACKENDS["opencv"]})
    with pytest.raises(EnvironmentProblem, match="no flow backend can run here: cuda needs a CUDA GPU"):
        resolve_backend("auto", on_gpu=True)
    with pytest.raises(InvalidInput, match="'opencv' computes on the CPU; use --cpus N"):
        resolve_backend("opencv", on_gpu=True)
    monkeypatch.setitem(api.BACKENDS, "fast", replace(BACKENDS["opencv"], on_gpu=True))
    assert resolve_backend("auto", on_gpu=True) == "fast"
    assert resolve_backend("auto", on_gpu=False) == "opencv"
    with pytest.raises(InvalidInput, match="'fast' computes on the GPU; use --gpus N"):
        resolve_backend("fast", on_gpu=False)


def test_what_runs_elsewhere_need_not_run_here(monkeypatch):
    monkeypatch.setitem(api.BACKENDS, "cuda", replace(BACKENDS["cuda"], is_available=lambda: False))
    assert resolve_backend("auto", on_gpu=True, here=False) == "cuda"
    assert resolve_backend("cuda", on_gpu=True, here=False) == "cuda"
    with pytest.raises(InvalidInput, match="'cpu' computes on the CPU; use --cpus N"):
        resolve_backend("cpu", on_gpu=True, here=False)


def test_auto_takes_the_first_available_and_says_which(caplog):
    with caplog.at_level(logging.INFO, logger="preprocess.flow.api"):
        assert resolve_backend("auto") == available_backends()[0]
    assert caplog.messages[-1] == f"flow backend: {available_backends()[0]}"


def with_device(monkeypatch, *, answers):
    """A backend `device` whose GPU answers the first times as often as said."""
    left = iter(answers)

    def require_answer():
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        if not answer:
            raise DeviceDead("a GPU does not answer")

    monkeypatch.setitem(BACKENDS, "device", replace(BACKENDS["opencv"], require_answer=require_answer))


def test_dead_gpu_is_found_before_work_begins(monkeypatch):
    with_device(monkeypatch, answers=[False])
    with pytest.raises(DeviceDead), answering("device"):
        pytest.fail("began")


@pytest.mark.parametrize(
    ("answers", "error", "found"),
    [
        ([True], DeviceLost("failed"), DeviceLost),  # this process cannot tell
        ([True, False], EnvironmentProblem("no CUDA device is visible"), DeviceDead),
        ([True, True], EnvironmentProblem("no NVRTC"), EnvironmentProblem),
        ([True, OutOfDeviceMemory("full")], EnvironmentProblem("no NVRTC"), EnvironmentProblem),
        ([True], InvalidInput("too small"), InvalidInput),
    ],
)
def test_errors_at_work_are_told_apart(monkeypatch, answers, error, found):
    with_device(monkeypatch, answers=answers)
    with pytest.raises(found) as caught, answering("device"):
        raise error
    assert type(caught.value) is found
