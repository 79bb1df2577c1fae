"""The CUDA kernels compiled for this CPU, one fiber a CUDA thread: see tests/csrc/cuda_shim.h."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from preprocess.flow.cuda_batch import BATCH
from preprocess.flow.cuda_kernels import SHAPES, SOURCES, TileShape

FOLDER = Path(__file__).parents[2] / "csrc"
COMPILER = os.environ.get("CXX", "g++")
TESTED_SHAPES = ("a4", "b4", "d2", "d6", "e8", "f4", "g8")
"""Of SHAPES: one of most bodies, and every number of iterations a launch."""
OUTCOMES = {1: "only some threads reach a barrier or a shuffle", 2: "a write beyond shared memory"}


@functools.cache
def library(shapes: tuple[str, ...] = TESTED_SHAPES) -> ctypes.CDLL:
    """Compiled once a test run, and removed from the disk once loaded.

    Args:
        shapes: tiles to compile.
    """
    if not shutil.which(COMPILER):
        pytest.skip(f"no C++ compiler {COMPILER!r} to emulate CUDA kernels with")
    tiles = " ".join(SHAPES[name].statement + size_function(SHAPES[name]) for name in shapes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.so"
        options = ["-O2", "-std=c++17", "-shared", "-fPIC", "-w", f"-I{SOURCES}", f"-DTILES={tiles}"]
        subprocess.run([COMPILER, *options, FOLDER / "cuda_on_cpu.cpp", "-o", path], check=True)
        return ctypes.CDLL(str(path))


def size_function(shape: TileShape) -> str:
    """C++ that tells how large the shared memory of a tile is."""
    tile = f"kineflow::Tile<{shape.threads_x}, {shape.threads_y}, {shape.columns}, {shape.rows}, {shape.halo}>"
    return f' extern "C" int {shape.name}_shared_bytes() {{ return sizeof({tile}::Shared); }}'


class EmulatedGpu:
    """`Device` of cuda_solver.py on NumPy arrays."""

    def __init__(self, *, shared_limit: int = 232448) -> None:
        self.emulation = library()
        self.shared_limit = shared_limit
        self.counts = [0, 0]
        self.launches: list[tuple[str, tuple[int, int, int]]] = []

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
        assert batch.dtype == BATCH
        name = kernel if isinstance(kernel, str) else kernel.name
        self.launches.append((name, grid))
        function = ctypes.cast(getattr(self.emulation, name), ctypes.c_void_p)
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        struct = ctypes.c_void_p(batch.ctypes.data)
        outcome = self.emulation.launch(function, *sizes, shared_bytes, struct, number, flags)
        assert outcome == 0, f"{name}: {OUTCOMES[outcome]}"

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def write(self, array: np.ndarray, values: np.ndarray) -> None:
        array[...] = values

    def read(self, array: np.ndarray, out: np.ndarray) -> None:
        out[...] = array

    def send_count(self, array: np.ndarray, slot: int) -> None:
        self.counts[slot] = int(array[0])

    def receive_count(self, slot: int) -> int:
        return self.counts[slot]
