"""What one cannot ask of a real GPU; run by test_cupy.py, in this order, with the plugin `cupy_on_cpu`."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import cupy
import numpy as np
import pytest

from preprocess.errors import DeviceLost, EnvironmentProblem
from preprocess.flow import Tvl1Params, cuda, cuda_device, quantise
from preprocess.flow.cuda_device import OutOfDeviceMemory
from tests.preprocess.flow.cupy_on_cpu import API
from tests.preprocess.flow.moving_texture import moving_texture

QUICK = Tvl1Params(scales=2, warps=1, outer_iterations=1)


@pytest.fixture
def clip():
    return moving_texture(9, 61, 83)


def test_less_memory_than_was_said(clip, monkeypatch, caplog):
    cuda._memory.free()
    cupy.get_default_memory_pool().free_all_blocks()
    expected = cuda.flow_of_clip(clip, QUICK)
    needed = cuda._memory.largest()
    cuda._memory.free()
    monkeypatch.setattr(cuda_device, "free_bytes", lambda: 1 << 30)
    API.api_set_free_bytes(needed * 3 // 4)
    with caplog.at_level(logging.WARNING, logger="preprocess.flow.cuda"):
        assert np.array_equal(cuda.flow_of_clip(clip, QUICK), expected)
    assert "trying again with batches of 4 pairs instead of 8" in caplog.text
    cuda._memory.free()
    API.api_set_free_bytes(needed // 4)
    with pytest.raises(OutOfDeviceMemory, match=r"no 2 MiB free .*out of memory.*; end other programs on it"):
        cuda.flow_of_clip(clip, QUICK)
    API.api_set_free_bytes(1 << 30)


def test_host_memory_that_is_full_is_no_lost_gpu_fails():
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    API.api_set_most_of_host(1 << 20)
    with pytest.raises(EnvironmentProblem, match=r"has no 3 MiB of memory left .*out of memory") as raised:
        cuda.flow_of_clip(moving_texture(3, 384, 512), QUICK)
    assert not isinstance(raised.value, DeviceLost)
    API.api_set_most_of_host(1 << 30)


def test_threads_wait_for_memory_that_others_have(clip, monkeypatch):
    # the largest block may be gone before the thread that counted on it gets to it
    cuda._memory.free()
    cupy.get_default_memory_pool().free_all_blocks()
    clips = [clip[: 3 + number % 6] for number in range(24)]
    expected = [cuda.codes_of_clip(frames, QUICK) for frames in clips]
    needed = cuda._memory.largest()
    cuda._memory.free()
    monkeypatch.setattr(cuda_device, "free_bytes", lambda: 1 << 30)
    API.api_set_free_bytes(needed * 3 // 2)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda frames: cuda.codes_of_clip(frames, QUICK), clips))
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    cuda._memory.free()
    API.api_set_free_bytes(1 << 30)


def test_gpu_that_answers_needs_no_compiler(monkeypatch):
    monkeypatch.setattr(cupy.cuda.compiler, "compile_using_nvrtc", lambda *_, **__: pytest.fail("compiled"))
    cuda_device.require_answer()


def test_threads_compute_each_on_another_stream(clip, monkeypatch):
    clips = [clip[start : start + 4] for start in range(6)]
    expected = [quantise(cuda.flow_of_clip(frames, QUICK)) for frames in clips]
    used = set()
    together = threading.Barrier(3)

    def compute(frames):
        together.wait(30)
        return cuda.codes_of_clip(frames, QUICK)

    def launch(*arguments, **options):
        used.add(cupy.cuda.get_current_stream().ptr)
        launch_as_it_is(*arguments, **options)

    launch_as_it_is = cuda_device.CudaDevice.launch
    monkeypatch.setattr(cuda_device.CudaDevice, "launch", launch)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(compute, clips))
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(used) == 3
    assert 0 not in used  # the stream that waits for all others


def test_gpu_that_is_lost(clip):
    API.api_lose_gpu_after(20)
    with pytest.raises(DeviceLost, match=r"the GPU failed .*unspecified launch failure.*; see nvidia-smi"):
        cuda.flow_of_clip(clip, QUICK)
