"""TV-L1 on a real GPU. Needs CuPy, NumPy, OpenCV and pytest only, and a C++ compiler.

On a machine that has no more than these:

    python setup.py build_ext --inplace
    FAIL_WITHOUT_CUDA=1 python -m pytest -c /dev/null --rootdir . --noconftest tests/preprocess/flow/test_cuda_gpu.py
"""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from preprocess.flow import Tvl1Params, cpu, cuda, cuda_device
from preprocess.flow.cuda_device import CudaDevice
from preprocess.flow.cuda_kernels import SHAPES
from preprocess.flow.cuda_solver import Solver
from preprocess.flow.quantise import quantise
from tests.preprocess.flow.cuda_on_cpu import EmulatedGpu
from tests.preprocess.flow.moving_texture import moving_texture

pytestmark = pytest.mark.gpu

QUICK = Tvl1Params(scales=3, warps=2, outer_iterations=2)
CUDA_CONVENTION = Tvl1Params(
    convention="opencv-cuda", median=1, inner_iterations=300, outer_iterations=1, check_every=4
)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cupy():
    cuda_device.require()
    import cupy

    return cupy


@pytest.fixture
def clips():
    """Of two sizes and three lengths."""
    return [
        moving_texture(4, 120, 160, seed=1),
        moving_texture(2, 97, 131, seed=2),
        moving_texture(6, 120, 160, seed=3),
        moving_texture(3, 97, 131, seed=4),
    ]


def not_looked_at(reason):
    """Skip, where a GPU job may pass by skipping."""
    (pytest.fail if os.environ.get("FAIL_WITHOUT_CUDA") else pytest.skip)(reason)


def endpoint_error(a, b):
    return np.linalg.norm(a - b, axis=1).mean(axis=(1, 2))


def solve(device, memory_of, clip, params, tile=None):
    """Flow, and iterations of each level and pair, by a solver of its own."""
    pairs = len(clip) - 1
    solver = Solver(device, clip.shape[1:], params, pairs=pairs, frames=len(clip), tile=tile)
    solver.use(memory_of(solver.capacity.bytes))
    solver.write_frames(0, clip)
    solver.solve([(index, index + 1) for index in range(pairs)])
    flow = solver.buffers["out"].reshape(pairs, 2, *clip.shape[1:])
    solver.write_result(0, pairs, flow)
    return flow, solver.iterations(pairs)


@pytest.mark.parametrize("params", [Tvl1Params(), CUDA_CONVENTION], ids=["opencv-cpu", "opencv-cuda"])
def test_flow_is_that_of_the_cpu_engine(cupy, params):
    if not cpu.is_available():
        not_looked_at("the CPU engine is not compiled here")
    clip = moving_texture(4, 120, 160)
    assert endpoint_error(cuda.flow_of_clip(clip, params), cpu.flow_of_clip(clip, params)).max() < 0.02


@pytest.mark.parametrize("params", [Tvl1Params(), CUDA_CONVENTION], ids=["opencv-cpu", "opencv-cuda"])
def test_flow_is_that_of_the_emulation(cupy, params):
    clip = moving_texture(3, 61, 83)
    expected, expected_iterations = solve(
        EmulatedGpu(), lambda size: np.zeros(size, np.uint8), clip, params, SHAPES["f4"]
    )
    flow, iterations = solve(CudaDevice(), lambda size: cupy.zeros(size, cupy.uint8), clip, params, SHAPES["f4"])
    assert endpoint_error(flow.get(), expected).max() < 0.02
    assert np.abs(iterations.get().sum(0) / expected_iterations.sum(0) - 1).max() < 0.2


@pytest.mark.parametrize("name", SHAPES)
def test_a_multiprocessor_holds_as_many_blocks_as_is_estimated(cupy, name):
    shape, device = SHAPES[name], CudaDevice()
    if shape.shared_bytes > device.shared_limit:
        pytest.skip(f"needs {shape.shared_bytes} bytes of shared memory, this GPU has {device.shared_limit}")
    kernel = cuda_device._function(cupy.cuda.Device().id, shape).kernel
    held = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.ptr, shape.threads, shape.shared_bytes)
    assert held >= shape.together(device.shared_limit)


@pytest.mark.parametrize("name", SHAPES)
def test_every_tile_gives_the_same_flow(cupy, name):
    device = CudaDevice()
    if SHAPES[name].shared_bytes > device.shared_limit:
        pytest.skip(f"needs {SHAPES[name].shared_bytes} bytes of shared memory, this GPU has {device.shared_limit}")
    clip = moving_texture(3, 120, 160)
    flow, _ = solve(device, lambda size: cupy.zeros(size, cupy.uint8), clip, Tvl1Params(), SHAPES[name])
    assert np.abs(np.median(flow.get(), axis=(2, 3)) - (2, 1)).max() < 0.05
    assert endpoint_error(flow.get(), cuda.flow_of_clip(clip, Tvl1Params())).max() < 0.02


def test_tiles_equal_plain_kernels(cupy):
    device = CudaDevice()
    params = Tvl1Params(scales=1, warps=1, inner_iterations=24, outer_iterations=1, median=1, epsilon=1e-9)
    clip = moving_texture(3, 120, 160)
    flow, _ = solve(device, lambda size: cupy.zeros(size, cupy.uint8), clip, params, SHAPES["f4"])
    plain = Solver(device, (120, 160), params, pairs=2, frames=3, tile=SHAPES["f4"])
    plain.use(cupy.zeros(plain.capacity.bytes, cupy.uint8))
    plain.write_frames(0, clip)
    device.write(plain.buffers["pair_frames"], np.array([0, 1, 1, 2], np.int32))
    batch = plain.batch_of(0, 2)
    plain._per_pixel("first_level", batch, 3)
    plain._per_pixel("clear_pairs", batch, 2)
    plain._one_block("start_level", batch)
    plain._per_pixel("warp", batch, 2)
    for _ in range(24):
        plain._per_pixel("plain_flow", batch, 2)
        plain._per_pixel("plain_dual", batch, 2)
    out = plain.buffers["out"].reshape(2, 2, 120, 160)
    plain.write_result(0, 2, out)
    assert float(abs(out - flow).max()) < 1e-4


def test_batch_is_one_by_one_bit_for_bit(cupy, clips):
    together = cuda.flow_of_clips(clips)
    for clip, flow in zip(clips, together, strict=True):
        assert np.array_equal(flow, cuda.flow_of_clip(clip, Tvl1Params()))
        pair = cuda.flow_of_clip(clip[-2:], Tvl1Params())
        assert np.array_equal(flow[-1:], pair)


def test_small_batches_change_nothing(cupy, clips, monkeypatch):
    expected = cuda.flow_of_clips(clips, QUICK)
    monkeypatch.setattr(cuda, "MOST_PAIRS", 4)
    for one, two in zip(cuda.flow_of_clips(clips, QUICK), expected, strict=True):
        assert np.array_equal(one, two)


def test_device_input_and_output(cupy, clips):
    """On the current stream, which the host does not wait for."""
    expected = cuda.flow_of_clips(clips[1::2], QUICK)
    from_device = cuda.flow_of_clips([cupy.asarray(clip) for clip in clips[1::2]], QUICK)
    to_device = cuda.flow_of_clips(clips[1::2], QUICK, on_device=True)
    for one, other, flow in zip(from_device, to_device, expected, strict=True):
        assert np.array_equal(one, flow)
        assert isinstance(other, cupy.ndarray)
        assert np.array_equal(other.get(), flow)


def test_codes_are_quantised_flow(cupy, clips):
    codes = cuda.flow_of_clips(clips[:2], QUICK, quantised=True)
    for code, flow in zip(codes, cuda.flow_of_clips(clips[:2], QUICK), strict=True):
        assert code.dtype == np.uint8
        assert np.array_equal(code, quantise(flow))


@pytest.mark.parametrize("own", [False, True], ids=["stream given", "stream of the thread"])
def test_streams_from_threads_do_not_disturb_each_other(cupy, clips, own):
    expected = cuda.flow_of_clips(clips, QUICK)
    wrong = []

    def work(number):
        with cupy.cuda.Device():
            stream = None if own else cupy.cuda.Stream(non_blocking=True)
            for _ in range(5):
                order = clips[number % 2 :] + clips[: number % 2]
                results = cuda.flow_of_clips(order, QUICK, stream=stream)
                same = zip(results, expected[number % 2 :] + expected[: number % 2], strict=True)
                wrong.extend(number for flow, right in same if not np.array_equal(flow, right))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_result_on_device_is_ready_when_its_stream_is(cupy, clips):
    stream = cupy.cuda.Stream(non_blocking=True)
    (flow,) = cuda.flow_of_clips(clips[:1], QUICK, on_device=True, stream=stream)
    (later,) = cuda.flow_of_clips(clips[2:3], QUICK, on_device=True, stream=stream)
    found, found_later = flow.get(stream=stream), later.get(stream=stream)
    assert np.array_equal(found, cuda.flow_of_clip(clips[0], QUICK))
    assert np.array_equal(found_later, cuda.flow_of_clip(clips[2], QUICK))


def test_memory_is_not_used_again_before_another_stream_is_done_with_it(cupy, clips):
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    results = [
        cuda.flow_of_clips([clip], QUICK, on_device=True, stream=stream)[0]
        for clip, stream in zip(clips[::2], streams, strict=True)
    ]
    for result, stream, clip in zip(results, streams, clips[::2], strict=True):
        stream.synchronize()
        assert np.array_equal(result.get(), cuda.flow_of_clip(clip, QUICK))


def test_no_memory_is_lost_over_500_clips(cupy):
    tiny = Tvl1Params(scales=2, warps=1, outer_iterations=1)
    clips = [moving_texture(2 + number % 4, 48 + number % 3 * 16, 64) for number in range(12)]
    for clip in clips:
        cuda.flow_of_clip(clip, tiny)
    cupy.get_default_memory_pool().free_all_blocks()
    before = cuda_device.free_bytes()
    for number in range(500):
        cuda.flow_of_clip(clips[number % len(clips)], tiny)
    cupy.get_default_memory_pool().free_all_blocks()
    assert before - cuda_device.free_bytes() <= 2 << 20


def test_a_larger_clip_replaces_the_block_of_memory(cupy):
    cuda._memory.free()
    cuda.flow_of_clip(moving_texture(2, 48, 64), QUICK)
    small = cuda._memory.largest()
    cuda.flow_of_clip(moving_texture(6, 240, 320), QUICK)
    assert cuda._memory.largest() > small
    assert sum(len(blocks) for blocks in cuda._memory._idle.values()) == 1


SANITISED = """
from preprocess.flow import Tvl1Params, cuda
from tests.preprocess.flow.moving_texture import moving_texture
cuda.flow_of_clips([moving_texture(3, 61, 83), moving_texture(2, 40, 57)],
                   Tvl1Params(scales=2, warps=1, outer_iterations=2, inner_iterations=7), quantised=True)
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(cupy, tool):
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if not sanitizer:
        not_looked_at("compute-sanitizer is not installed")
    options = ["--error-exitcode", "9", "--tool", tool]
    if tool == "memcheck":
        options += ["--report-api-errors", "no"]  # CuPy asks for attributes that not every driver has
    command = [sanitizer, *options, sys.executable, "-c", SANITISED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    if "Device not supported" in done.stdout + done.stderr:
        not_looked_at("compute-sanitizer cannot watch this GPU here")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
