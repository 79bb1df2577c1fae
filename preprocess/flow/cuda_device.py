"""The GPU as the solver sees it: kernels compiled at run time, memory, and what is missing when it cannot be used.

The one place where errors of CuPy become ours. Everything runs on CuPy's current device and stream.
"""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from preprocess.errors import DeviceDead, DeviceLost, EnvironmentProblem
from preprocess.flow.cuda_kernels import COMPILE_OPTIONS, TileShape, source

LEAST_CAPABILITY = 75
"""Compute capability 7.5, Turing: with less the smallest tile does not fit."""

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation and CUDA_ERROR_OUT_OF_MEMORY, which CuPy does not name
_FULL = "the GPU's memory is full ({}); end other programs on it"

logger = logging.getLogger(__name__)


def missing() -> str | None:
    """What this machine lacks to run the CUDA backend, and what to do about it; None if nothing."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy does not import ({error}): pip install cupy-cuda13x, or cupy-cuda12x for a CUDA 12 driver"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no CUDA device is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES"
        capability = int(cupy.cuda.Device().compute_capability)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"the CUDA driver does not answer ({error}): install or update the NVIDIA driver"
    if capability < LEAST_CAPABILITY:
        return (
            f"the GPU has compute capability {capability / 10}, at least {LEAST_CAPABILITY / 10} is needed: "
            "use another GPU, or the cpu backend"
        )
    return None


def require() -> None:
    """Raise EnvironmentProblem unless a GPU can be used."""
    if reason := missing():
        raise EnvironmentProblem(f"TV-L1 on CUDA cannot run here: {reason}")


def require_answer() -> None:
    """Raise DeviceDead unless the GPU of this process answers: writes some bytes there and reads them back.

    Raises:
        DeviceDead: it does not, or nothing here could talk to it.
        OutOfDeviceMemory: it has no memory left for them.
    """
    if reason := missing():
        raise DeviceDead(f"a GPU does not answer: {reason}")
    import cupy

    try:
        with failures():
            written = cupy.empty(64, cupy.uint8)  # and nothing that would have to be compiled
            written.data.memset_async(2, 64)
            answer = written.get()
    except DeviceLost as error:
        raise DeviceDead(f"a GPU does not answer: {error}") from error
    if not (answer == 2).all():
        raise DeviceDead(f"a GPU forgets: what was written as 64 times 2 came back as {answer.tolist()}")


@contextmanager
def failures() -> Iterator[None]:
    """What CuPy raises, as errors of ours.

    Raises:
        DeviceLost: the driver or a kernel failed, after which this process can use the GPU no more.
        OutOfDeviceMemory: CuPy's own arrays, or a kernel, do not fit.
    """
    import cupy

    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise OutOfDeviceMemory(_FULL.format(error)) from error
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
        if error.status == _OUT_OF_MEMORY:  # as of a kernel to be loaded
            raise OutOfDeviceMemory(_FULL.format(error)) from error
        raise DeviceLost(
            f"the GPU failed ({error}); see nvidia-smi and the kernel's log, and start the program anew"
        ) from error


@cache
def _function(device: int, kernel: str | TileShape) -> Any:  # noqa: ARG001  # the cache is per device
    """A kernel, compiled by NVRTC on first use; CuPy also keeps what it compiled on disk."""
    import cupy

    code = source([]) if isinstance(kernel, str) else source([kernel], kernels=False)
    module = _module(code)
    name = kernel if isinstance(kernel, str) else kernel.name
    try:
        function = module.get_function(name)
    except (ImportError, OSError, RuntimeError, cupy.cuda.compiler.CompileException) as error:
        with failures():
            if getattr(error, "status", None) == _OUT_OF_MEMORY:
                raise
            cupy.cuda.runtime.deviceSynchronize()  # a GPU that is lost says so again
        raise EnvironmentProblem(
            f"CUDA kernels cannot be compiled: {error}; NVRTC comes with pip install nvidia-cuda-nvrtc, of the major "
            f"version of CuPy's CUDA ({cupy.cuda.runtime.runtimeGetVersion() // 1000})"
        ) from error
    if isinstance(kernel, TileShape):
        function.max_dynamic_shared_size_bytes = kernel.shared_bytes
    return function


@cache
def _module(code: str) -> Any:  # CuPy has no types
    import cupy

    return cupy.RawModule(code=code, options=COMPILE_OPTIONS, backend="nvrtc")


class CudaDevice:
    """`Device` of cuda_solver.py on CuPy's current device and stream."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._index = cupy.cuda.Device().id
        self.shared_limit = int(cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])
        self._counts = np.frombuffer(cupy.cuda.alloc_pinned_memory(8), np.int32, 2)
        # Waited for often and briefly: spinning, the default, learns of it soonest.
        self._arrived = [cupy.cuda.Event(disable_timing=True) for _ in range(2)]
        self._sources: list[np.ndarray] = []

    def launch(
        self,
        kernel: str | TileShape,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        batch: np.ndarray,
        *,
        number: int = 0,
        flags: int = 0,
        shared_bytes: int = 0,
    ) -> None:
        """Start a kernel; a NumPy array of one element is passed by value."""
        # Without its fields: CuPy asks for the array's interface, and to list them takes longer than all the rest.
        struct = batch.view(f"V{batch.itemsize}")
        arguments = (struct, np.int32(number), np.int32(flags))
        _function(self._index, kernel)(grid, block, arguments, shared_mem=shared_bytes)

    def address(self, array: Any) -> int:  # a CuPy array
        """Pointer to the first element."""
        return int(array.data.ptr)

    def write(self, array: Any, values: Any) -> None:  # CuPy; NumPy or CuPy
        """Start to copy to the device."""
        if isinstance(values, np.ndarray):
            # CUDA does not promise to have read memory of the host when it returns, pageable or not.
            self._sources.append(np.ascontiguousarray(values))
            array.set(self._sources[-1])
        else:
            array[...] = values

    def read(self, array: Any, out: np.ndarray) -> None:  # a CuPy array
        """Start to copy an array to the host; `out` from `pinned_empty`."""
        array.get(out=out, blocking=False)

    def send_count(self, array: Any, slot: int) -> None:  # a CuPy array
        """Start to copy one int32 to pinned memory."""
        runtime = self._cupy.cuda.runtime
        stream = self._cupy.cuda.get_current_stream()
        runtime.memcpyAsync(self._counts[slot:].ctypes.data, array.data.ptr, 4, runtime.memcpyDeviceToHost, stream.ptr)
        self._arrived[slot].record(stream)

    def receive_count(self, slot: int) -> int:
        """Wait for the copy last sent to a slot."""
        self._arrived[slot].synchronize()
        return int(self._counts[slot])


class Memory:
    """Blocks of device memory that are used again: one for each solver that runs at the same time.

    They are taken from the driver, past CuPy's pool, so that a larger one gives the smaller one back.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: defaultdict[int, list[tuple[Any, Any]]] = defaultdict(list)
        self._lent: Counter[int] = Counter()

    @contextmanager
    def block(self, size: int) -> Iterator[Any]:
        """A uint8 array of at least `size` bytes, for the current stream.

        Waits for the blocks of other threads, where these have what is lacking.

        Raises:
            OutOfDeviceMemory: there is not as much.
        """
        import cupy

        device = cupy.cuda.Device().id
        stream = cupy.cuda.get_current_stream()
        array = self._taken(device, size, stream)
        given_back: list[tuple[Any, Any]] = []
        try:
            yield array
        finally:
            try:
                finished = cupy.cuda.Event(disable_timing=True)
                finished.record(stream)
                given_back.append((array, finished))
            finally:  # also where the GPU was lost: others wait
                with self._changed:
                    self._idle[device] += given_back
                    self._lent[device] -= 1
                    self._changed.notify_all()

    def _taken(self, device: int, size: int, stream: Any) -> Any:
        """The smallest idle block that is large enough, or a new one in the place of the largest that is not."""
        while True:
            with self._changed:
                idle = self._idle[device]
                idle.sort(key=lambda block: int(block[0].size))
                place = next((number for number, (array, _) in enumerate(idle) if array.size >= size), -1)
                found = idle.pop(place) if idle else None
                self._lent[device] += 1
            try:
                if found and found[0].size >= size:
                    stream.wait_event(found[1])
                    return found[0]
                if found:
                    found[1].synchronize()
                    found = None  # given back to the driver before the larger one is taken
                return _allocate(size)
            except BaseException as error:
                with self._changed:
                    self._lent[device] -= 1
                    if isinstance(error, OutOfDeviceMemory) and self._idle[device]:
                        self._idle[device].clear()
                    elif isinstance(error, OutOfDeviceMemory) and self._lent[device]:
                        self._changed.wait()
                    else:
                        self._changed.notify_all()  # nobody may wait for what this one had
                        raise

    def largest(self) -> int:
        """Bytes of the largest idle block of the current device, 0 for none."""
        import cupy

        with self._changed:
            return max((array.size for array, _ in self._idle[cupy.cuda.Device().id]), default=0)

    def free(self) -> None:
        """Give all idle blocks back to the driver."""
        with self._changed:
            self._idle.clear()


class OutOfDeviceMemory(EnvironmentProblem):
    """A block of device memory that there is not; the message says how large."""


def _allocate(size: int) -> Any:  # a CuPy array
    import cupy

    for last_try in (False, True):
        try:
            memory = cupy.cuda.Memory(size)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if error.status != _OUT_OF_MEMORY:
                raise
            if last_try:
                raise OutOfDeviceMemory(
                    f"the GPU has no {size / 2**20:.0f} MiB free ({error}); end other programs on it"
                ) from error
            cupy.get_default_memory_pool().free_all_blocks()
        else:
            return cupy.ndarray((size,), cupy.uint8, cupy.cuda.MemoryPointer(memory, 0))
    raise AssertionError


def pinned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array that copies from the GPU reach without a detour; its memory is used again when nobody holds it.

    Raises:
        EnvironmentProblem: this machine has not as much memory left.
    """
    import cupy

    size = int(np.prod(shape))
    try:
        memory = cupy.cuda.alloc_pinned_memory(size * dtype.itemsize)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != _OUT_OF_MEMORY:
            raise
        raise EnvironmentProblem(
            f"this machine has no {size * dtype.itemsize / 2**20:.0f} MiB of memory left for what comes from the GPU "
            f"({error}); end other programs on it"
        ) from error
    return np.frombuffer(memory, dtype, size).reshape(shape)


def free_bytes() -> int:
    """Of the current device."""
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0])
