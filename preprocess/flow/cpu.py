"""TV-L1 by our own engine on the CPU: SIMD, threads over pairs, the same bits with AVX-512, AVX2 and NEON.

The engine (`csrc/`) is a shared library that `pip install` compiles where there is a C++ compiler. It follows OpenCV's
`DualTVL1OpticalFlow` to the order of its steps; see `benchmarks/RESULTS.md` for how much faster and how near it is.
"""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from preprocess.errors import EnvironmentProblem
from preprocess.flow.params import CONVENTIONS, Tvl1Params

_STATUS = {1: "not enough memory", 2: "this processor lacks the instruction set asked for"}


_DOUBLES = ("tau", "lambda_", "theta", "epsilon", "scale_step")
_INTEGERS = ("scales", "warps", "inner_iterations", "outer_iterations", "median", "convention", "check_every")


class _Params(ctypes.Structure):
    """`kineflow_params` of csrc/tvl1_cpu.h."""

    _fields_ = (*((name, ctypes.c_double) for name in _DOUBLES), *((name, ctypes.c_int32) for name in _INTEGERS))


def flow_of_clip(frames_THW: np.ndarray, params: Tvl1Params, *, threads: int = 1, isa: str | None = None) -> np.ndarray:
    """Flow of every pair of neighbours.

    Args:
        frames_THW: uint8, gray.
        params: of the solver.
        threads: how many to use; the result does not depend on it.
        isa: one of `instruction_sets()`; None takes the best. The result does not depend on it either, but for
            `baseline` on x86-64, which cannot fuse a multiplication with an addition and differs by rounding.

    Returns:
        float32 [T-1, 2, H, W], px a frame.

    Raises:
        EnvironmentProblem: the extension was not compiled, no memory, or no such instruction set.
    """
    return solve(frames_THW, params, threads=threads, isa=isa)[0]


def solve(
    frames_THW: np.ndarray, params: Tvl1Params, *, threads: int = 1, isa: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `flow_of_clip`, and the iterations that each pair took, over all scales and warps: int64 [T-1]."""
    frames = np.ascontiguousarray(frames_THW)
    count, height, width = frames.shape
    flow_T2HW = np.empty((count - 1, 2, height, width), np.float32)
    iterations = np.empty(count - 1, np.int64)
    status = _library().kineflow_tvl1(
        frames.ctypes.data_as(ctypes.c_void_p),
        count,
        height,
        width,
        ctypes.byref(_to_c(params)),
        threads,
        isa.encode() if isa else None,
        flow_T2HW.ctypes.data_as(ctypes.c_void_p),
        iterations.ctypes.data_as(ctypes.c_void_p),
    )
    if status:
        raise EnvironmentProblem(f"TV-L1 of {count} frames of {width}x{height}: {_STATUS[status]} (isa {isa!r})")
    return flow_T2HW, iterations


def instruction_sets() -> list[str]:
    """Instruction sets that this processor can run, best first: of `avx512`, `avx2` and `baseline`."""
    names: bytes = _library().kineflow_isas()
    return names.decode().split()


def is_available() -> bool:
    """Whether the extension was compiled."""
    return _library_path() is not None


def _library_path() -> Path | None:
    candidates = (Path(__file__).with_name(f"_tvl1_cpu{suffix}") for suffix in EXTENSION_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


@cache
def _library() -> ctypes.CDLL:
    path = _library_path()
    if path is None:
        raise EnvironmentProblem("the CPU flow engine was not compiled; install a C++ compiler and then kineflow again")
    library = ctypes.CDLL(str(path))
    library.kineflow_isas.restype = ctypes.c_char_p
    return library


def _to_c(params: Tvl1Params) -> _Params:
    values = {name: getattr(params, name) for name in (*_DOUBLES, *_INTEGERS) if name != "convention"}
    return _Params(convention=list(CONVENTIONS).index(params.convention), **values)
