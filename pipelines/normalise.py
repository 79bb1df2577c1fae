"""Codes of decoded pictures to network input on the CPU, in one pass; compiled where there is a C++ compiler.

Shapes: N = planes decoded, M = planes to fill, P = pixels of a plane.
"""

import ctypes
import logging
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from preprocess.errors import EnvironmentProblem

VERSIONS = ("baseline", "avx2", "avx512")
"""Of the compiled code, slowest first; all give the same bits, as does what runs without it."""

log = logging.getLogger(__name__)


def normalise(
    codes_NP: np.ndarray,
    values_MP: np.ndarray,
    *,
    source: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    mean: float,
    bound: float = np.inf,
    version: str | None = None,
) -> None:
    """Fill planes with `clip((code - mean) * scale, -bound, bound)`, computed in float32.

    Args:
        codes_NP: uint8, contiguous.
        values_MP: float32, contiguous; written to.
        source: int64 [K], planes of `codes_NP`, which may repeat.
        target: int64 [K], the planes of `values_MP` that they go to.
        scale: float32 [K], of each.
        mean: of all.
        bound: of all.
        version: one of `versions()`; the best if not given.

    Raises:
        ValueError: wrong types, shapes, or a plane that is not there.
        EnvironmentProblem: no such version here.
    """
    _check(codes_NP, values_MP, source, target, scale)
    library = _library()
    if library is None:
        if version is not None:
            raise EnvironmentProblem(f"normalising by {version} was asked for; it is not compiled here")
        _plain(codes_NP, values_MP, source, target, scale, mean=mean, bound=bound)
        return
    status = library.kineflow_normalise(
        codes_NP.ctypes.data,
        values_MP.ctypes.data,
        len(source),
        codes_NP.shape[1],
        source.ctypes.data,
        target.ctypes.data,
        scale.ctypes.data,
        mean,
        -bound,
        bound,
        VERSIONS.index(version or versions()[-1]),
    )
    if status:
        raise EnvironmentProblem(f"normalising by {version} was asked for; this processor has {', '.join(versions())}")


@cache
def versions() -> tuple[str, ...]:
    """Of `VERSIONS`, what runs here, the best last; empty where nothing was compiled."""
    library = _library()
    if library is None:
        return ()
    return tuple(name for number, name in enumerate(VERSIONS) if library.kineflow_has_version(number))


def _check(
    codes_NP: np.ndarray, values_MP: np.ndarray, source: np.ndarray, target: np.ndarray, scale: np.ndarray
) -> None:
    for name, array, dtype, dims in (
        ("codes", codes_NP, np.uint8, 2),
        ("values", values_MP, np.float32, 2),
        ("source", source, np.int64, 1),
        ("target", target, np.int64, 1),
        ("scale", scale, np.float32, 1),
    ):
        if array.dtype != dtype or array.ndim != dims or not array.flags.c_contiguous:
            raise ValueError(f"{name} must be a contiguous {np.dtype(dtype)} of {dims} dimensions, got {array.dtype}")
    if codes_NP.shape[1] != values_MP.shape[1] or not len(source) == len(target) == len(scale):
        raise ValueError(f"{codes_NP.shape} and {values_MP.shape} or {len(source)}, {len(target)}, {len(scale)} differ")
    for name, numbers, count in (("source", source, len(codes_NP)), ("target", target, len(values_MP))):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
            raise ValueError(f"{name} {numbers.min()} to {numbers.max()} is not within {count} planes")


def _plain(
    codes_NP: np.ndarray,
    values_MP: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    *,
    mean: float,
    bound: float,
) -> None:
    for origin, place, factor in zip(source, target, scale, strict=True):
        values = np.subtract(codes_NP[origin], np.float32(mean), out=values_MP[place], dtype=np.float32)
        values *= factor
        np.clip(values, -bound, bound, out=values)


@cache
def _library() -> ctypes.CDLL | None:
    folder = Path(__file__).parent
    path = next((found for suffix in EXTENSION_SUFFIXES if (found := folder / f"_normalise{suffix}").exists()), None)
    if path is None:
        log.warning("pipelines.normalise was installed without a C++ compiler: batches take several times the CPU")
        return None
    library = ctypes.CDLL(str(path))
    pointer, size, real, whole = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int
    library.kineflow_normalise.argtypes = [pointer, pointer, size, size, pointer, pointer, pointer, *[real] * 3, whole]
    return library
