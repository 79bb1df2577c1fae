"""What happens where a GPU, a driver, a compiler or memory is missing; and batches over clips, kernels emulated."""

import contextlib
import logging
import sys
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from preprocess.errors import DeviceDead, DeviceLost, EnvironmentProblem
from preprocess.flow import Tvl1Params, cuda, cuda_device
from preprocess.flow.cuda_device import OutOfDeviceMemory
from preprocess.flow.cuda_kernels import SHAPES
from preprocess.flow.quantise import quantise
from tests.preprocess.flow.cuda_on_cpu import EmulatedGpu
from tests.preprocess.flow.moving_texture import moving_texture

QUICK = Tvl1Params(scales=2, warps=2, outer_iterations=1)


class FakeRuntimeError(RuntimeError):
    status = 719


class FakeDriverError(RuntimeError):
    status = 719


class FakeOutOfMemoryError(MemoryError):
    pass


class FakeCompileException(Exception):
    pass


def fake_cupy(*, devices=1, capability="75", error=None):
    def count():
        if error:
            raise FakeRuntimeError(error)
        return devices

    runtime = SimpleNamespace(
        getDeviceCount=count,
        CUDARuntimeError=FakeRuntimeError,
        runtimeGetVersion=lambda: 13000,
        deviceSynchronize=lambda: None,
    )
    device = SimpleNamespace(compute_capability=capability, id=0)
    return SimpleNamespace(
        cuda=SimpleNamespace(
            runtime=runtime,
            driver=SimpleNamespace(CUDADriverError=FakeDriverError),
            memory=SimpleNamespace(OutOfMemoryError=FakeOutOfMemoryError),
            compiler=SimpleNamespace(CompileException=FakeCompileException),
            Device=lambda: device,
        )
    )


def answering_cupy(answer):
    """One whose arrays come back as `answer`, or raise it."""

    def come_back():
        if isinstance(answer, Exception):
            raise answer
        return np.full(64, answer, np.uint8)

    cupy = fake_cupy()
    data = SimpleNamespace(memset_async=lambda value, size: None)
    cupy.uint8, cupy.empty = np.uint8, lambda size, dtype: SimpleNamespace(data=data, get=come_back)
    return cupy


@pytest.mark.parametrize(
    ("cupy", "message"),
    [
        (None, "pip install cupy-cuda13x"),
        (fake_cupy(devices=0), "no CUDA device is visible: see nvidia-smi"),
        (fake_cupy(error="insufficient driver"), r"\(insufficient driver\): install or update the NVIDIA driver"),
        (fake_cupy(capability="70"), "compute capability 7.0, at least 7.5 is needed: use another GPU"),
    ],
    ids=["no-cupy", "no-device", "no-driver", "old-gpu"],
)
def test_what_is_missing_is_said_and_nothing_runs_elsewhere(monkeypatch, cupy, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert not cuda.is_available()
    with pytest.raises(EnvironmentProblem, match=message):
        cuda.flow_of_clip(moving_texture(2, 32, 32), Tvl1Params())


@pytest.mark.parametrize(
    ("cupy", "message"),
    [
        (fake_cupy(error="unknown error"), r"does not answer: the CUDA driver does not answer \(unknown error\)"),
        (answering_cupy(FakeRuntimeError("device lost")), r"does not answer: the GPU failed \(device lost\)"),
        (answering_cupy(FakeDriverError("not ready")), r"does not answer: the GPU failed \(not ready\)"),
        (answering_cupy(3), r"forgets: what was written as 64 times 2 came back as \[3, 3"),
    ],
    ids=["no-driver", "runtime", "driver", "wrong"],
)
def test_gpu_that_does_not_answer_is_dead(monkeypatch, cupy, message):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(DeviceDead, match=message):
        cuda_device.require_answer()


def test_gpu_that_answers_is_not_dead(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", answering_cupy(2))
    cuda_device.require_answer()


def test_gpu_without_memory_left_is_not_dead(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", answering_cupy(FakeOutOfMemoryError("64 bytes")))
    with pytest.raises(OutOfDeviceMemory, match=r"memory is full \(64 bytes\); end other programs on it"):
        cuda_device.require_answer()


def test_failure_in_the_middle_is_a_lost_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())

    def fail():
        raise FakeRuntimeError("an illegal memory access")

    monkeypatch.setattr(cuda_device, "require", fail)  # anything within
    with pytest.raises(DeviceLost, match=r"the GPU failed \(an illegal memory access\)"), cuda_device.failures():
        cuda_device.require()


@pytest.mark.parametrize("kind", [RuntimeError, FakeCompileException])
def test_missing_compiler_is_said(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())

    def no_nvrtc(name):
        raise kind("Failure finding libnvrtc.so")

    monkeypatch.setattr(cuda_device, "_module", lambda code: SimpleNamespace(get_function=no_nvrtc))
    with pytest.raises(EnvironmentProblem, match=r"libnvrtc.so; NVRTC comes with pip install nvidia-cuda-nvrtc"):
        cuda_device._function.__wrapped__(0, "warp")


def test_kernel_is_in_the_source_that_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    function = SimpleNamespace()
    module = SimpleNamespace(get_function=lambda name: function)
    monkeypatch.setattr(cuda_device, "_module", lambda code: compiled.append(code) or module)
    for kernel in ("warp", SHAPES["f4"]):
        cuda_device._function.__wrapped__(0, kernel)
    assert "KF_KERNEL(warp," in compiled[0]
    assert SHAPES["f4"].statement in compiled[1]
    assert function.max_dynamic_shared_size_bytes == SHAPES["f4"].shared_bytes


def test_kernel_that_finds_no_memory_is_neither_a_missing_compiler_nor_a_lost_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())

    def no_room(name):
        error = FakeDriverError("CUDA_ERROR_OUT_OF_MEMORY")
        error.status = 2
        raise error

    monkeypatch.setattr(cuda_device, "_module", lambda code: SimpleNamespace(get_function=no_room))
    with pytest.raises(
        OutOfDeviceMemory, match=r"memory is full \(CUDA_ERROR_OUT_OF_MEMORY\); end other programs on it"
    ):
        cuda_device._function.__wrapped__(0, "warp")


def test_gpu_that_is_lost_while_kernels_are_compiled_is_lost(monkeypatch):
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    def lost(*_):
        raise FakeDriverError("unspecified launch failure")

    monkeypatch.setattr(cuda_device, "_module", lambda code: SimpleNamespace(get_function=lost))
    cupy.cuda.runtime.deviceSynchronize = lost
    with pytest.raises(DeviceLost, match="the GPU failed"):
        cuda_device._function.__wrapped__(0, "warp")


@pytest.mark.parametrize("broken", ["record", "allocate"])
def test_thread_that_waits_for_memory_learns_that_the_gpu_is_lost(monkeypatch, broken):
    begun, lost = threading.Event(), threading.Event()
    cupy = fake_cupy()

    def record(stream):
        if broken == "record":
            raise FakeRuntimeError("device lost")

    def allocate(size):
        if size == 1:
            return np.empty(size, np.uint8)
        if lost.is_set():
            raise FakeRuntimeError("device lost") if size == 2 else OutOfDeviceMemory("full")
        begun.set()
        raise OutOfDeviceMemory("full")

    cupy.cuda.Event = lambda disable_timing: SimpleNamespace(record=record, synchronize=lambda: None)
    cupy.cuda.get_current_stream = lambda: SimpleNamespace(wait_event=lambda event: None)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda_device, "_allocate", allocate)
    memory = cuda_device.Memory()
    ended = []

    def wait(size):
        try:
            with memory.block(size):
                pass
        except (FakeRuntimeError, OutOfDeviceMemory) as error:
            ended.append(str(error))

    others = [threading.Thread(target=wait, args=(size,), daemon=True) for size in (2, 3)]
    with contextlib.suppress(FakeRuntimeError), memory.block(1):
        for other in others:
            other.start()
        assert begun.wait(10)
        lost.set()
    for other in others:
        other.join(10)
    assert sorted(ended) == ["device lost", "full"]


def test_smallest_block_that_is_large_enough_is_used_again(monkeypatch):
    waited = []
    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: waited.append("host"))
    cupy = fake_cupy()
    cupy.cuda.Event = lambda disable_timing: event
    cupy.cuda.get_current_stream = lambda: SimpleNamespace(wait_event=lambda event: waited.append("stream"))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda_device, "_allocate", lambda size: np.empty(size, np.uint8))
    memory = cuda_device.Memory()
    with memory.block(10) as small, memory.block(30) as large:
        pass
    for size, expected in [(10, small), (20, large), (30, large)]:
        with memory.block(size) as block:
            assert block is expected
    assert waited == ["stream"] * 3
    left = weakref.ref(large)
    del large, expected, block
    monkeypatch.setattr(cuda_device, "_allocate", lambda size: np.empty(size, np.uint8) if left() is None else left())
    with memory.block(40) as larger:
        assert larger.size == 40
        assert memory.largest() == 10  # the other one had to go
    assert waited[3:] == ["host"]
    assert memory.largest() == 40

    def none_beside_idle_blocks(size):
        if memory.largest():
            raise OutOfDeviceMemory("full")
        return np.empty(size, np.uint8)

    monkeypatch.setattr(cuda_device, "_allocate", none_beside_idle_blocks)
    with memory.block(50) as largest:
        assert largest.size == 50
    memory.free()
    assert memory.largest() == 0


def test_cupy_gives_back_what_it_has_idle_before_memory_is_out(monkeypatch):
    cupy, freed, statuses = fake_cupy(), [], iter([2, 0, 2, 2, 700])

    def take(size):
        if status := next(statuses):
            error = FakeRuntimeError("cudaError")
            error.status = status
            raise error

    cupy.cuda.Memory, cupy.cuda.MemoryPointer = take, lambda memory, offset: None
    cupy.uint8, cupy.ndarray = np.uint8, lambda shape, dtype, pointer: np.empty(shape, dtype)
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: freed.append(True))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert cuda_device._allocate(3 << 20).size == 3 << 20
    assert freed == [True]
    with pytest.raises(OutOfDeviceMemory, match=r"the GPU has no 3 MiB free \(cudaError\)"):
        cuda_device._allocate(3 << 20)
    with pytest.raises(FakeRuntimeError):  # is no lack of memory
        cuda_device._allocate(3 << 20)


class EmulatedMemory:
    """`Memory` on NumPy; the first `failures` requests find too little."""

    def __init__(self, *, failures=0):
        self.failures = failures
        self.asked = []

    def largest(self):
        return 0

    @contextmanager
    def block(self, size):
        self.asked.append(size)
        if len(self.asked) <= self.failures:
            raise OutOfDeviceMemory(f"the GPU has no {size} bytes free")
        yield np.full(size, 255, np.uint8)


@pytest.fixture
def emulated(monkeypatch):
    """Everything below `flow_of_clips` that knows of CuPy, replaced."""
    memory = EmulatedMemory()
    monkeypatch.setattr(cuda, "CudaDevice", lambda: EmulatedGpu(shared_limit=64 << 10))
    monkeypatch.setattr(cuda, "_memory", memory)
    monkeypatch.setattr("preprocess.flow.cuda_solver.choose_tile", lambda *_: SHAPES["f4"])
    monkeypatch.setattr(cuda_device, "free_bytes", lambda: 1 << 30)
    return memory


def solve(clips, dtype=np.float32):
    results = [np.zeros((len(clip) - 1, 2, *clip.shape[1:]), dtype) for clip in clips]
    cuda._solve_one_size(clips, results, QUICK)
    return results


def test_batches_over_clips_change_nothing(emulated, monkeypatch):
    clips = [moving_texture(3, 32, 40, seed=1), moving_texture(5, 32, 40, seed=2), moving_texture(2, 32, 40, seed=3)]
    together = solve(clips)
    monkeypatch.setattr(cuda, "MOST_PAIRS", 3)
    in_threes = solve(clips)
    for clip, one, two in zip(clips, together, in_threes, strict=True):
        assert np.array_equal(one, solve([clip])[0])
        assert np.array_equal(one, two)
        assert np.abs(np.median(one, axis=(2, 3)) - (2, 1)).max() < 0.3


def test_codes_are_quantised_flow(emulated):
    clip = moving_texture(3, 32, 40)
    assert np.array_equal(solve([clip], np.uint8)[0], quantise(solve([clip])[0]))


def test_batch_fits_in_the_free_memory(emulated, monkeypatch):
    monkeypatch.setattr(cuda_device, "free_bytes", lambda: 2 << 20)
    clip = moving_texture(6, 32, 40)
    solve([clip])
    assert emulated.asked[0] <= 1 << 20


def test_batch_has_no_more_pixels_than_is_meant(emulated, monkeypatch):
    clip = moving_texture(4, 32, 40)
    solve([clip[:3]])
    monkeypatch.setattr(cuda, "BATCH_PIXELS", 3 * 32 * 40 - 1)
    solve([clip])
    assert emulated.asked[0] == emulated.asked[1]


def test_too_little_memory_halves_the_batch_once_and_says_so(emulated, caplog):
    clip = moving_texture(5, 32, 40)
    expected = solve([clip])[0]
    emulated.asked.clear()
    emulated.failures = 1
    with caplog.at_level(logging.WARNING, logger="preprocess.flow.cuda"):
        assert np.array_equal(solve([clip])[0], expected)
    assert "trying again with batches of 2 pairs instead of 4" in caplog.text
    assert emulated.asked[1] < emulated.asked[0]
    emulated.asked.clear()
    emulated.failures = 2
    with pytest.raises(EnvironmentProblem, match="the GPU has no"):
        solve([clip])


def test_a_pair_that_does_not_fit_is_not_tried_again(emulated, monkeypatch):
    monkeypatch.setattr(cuda_device, "free_bytes", lambda: 1)
    emulated.failures = 1
    with pytest.raises(EnvironmentProblem, match="the GPU has no"):
        solve([moving_texture(2, 32, 40)])
    assert len(emulated.asked) == 1
