"""Pictures to network input on the CPU, in one pass: cut, mirrored, normalised; compiled where there is a C++ compiler.

Shapes: N = pictures decoded, T = frames, C = channels, H, W = pixels of a picture, S = pixels of a side of the cut.
"""

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from preprocess.errors import EnvironmentProblem

VERSIONS = ("baseline", "avx2", "avx512")
"""Of the compiled code, slowest first; all give the same bits, as does what runs without it."""

logger = logging.getLogger(__name__)


def normalise(
    codes_NCHW: np.ndarray,
    values_CTSS: np.ndarray,
    *,
    picture: np.ndarray,
    corner: tuple[int, int],
    mirror: bool,
    scale: Sequence[float],
    mean: float,
    bound: float = np.inf,
    version: str | None = None,
) -> None:
    """Fill a clip with `clip((code - mean) * scale, -bound, bound)`, computed in float32.

    Args:
        codes_NCHW: uint8, in memory [N, C, H, W], or [N, H, W, C] with C = 3; rows and pictures may lie apart.
        values_CTSS: float32, contiguous; written to.
        picture: int64 [T], of which picture each frame is.
        corner: top and left of the cut in each picture.
        mirror: left to right.
        scale: of each channel.
        mean: of all.
        bound: of all.
        version: one of `versions()`; the best if not given.

    Raises:
        ValueError: wrong types or shapes, or a picture or a cut that is not there.
        EnvironmentProblem: no such version here.
    """
    channels, frames, side = values_CTSS.shape[:3]
    top, left = corner
    _check(codes_NCHW, values_CTSS, picture, corner)
    scales = np.array(scale, np.float32)
    if scales.shape != (channels,):
        raise ValueError(f"{len(scales)} scales for {channels} channels")
    cut_NCSS = codes_NCHW[:, :, top : top + side, left : left + side]
    library = _library()
    if library is None:
        if version is not None:
            raise EnvironmentProblem(f"normalising by {version} was asked for; it is not compiled here")
        _plain(cut_NCSS, values_CTSS, picture, mirror=mirror, scales=scales, mean=mean, bound=bound)
        return
    status = library.kineflow_normalise(
        cut_NCSS.ctypes.data,
        (ctypes.c_ssize_t * 4)(*cut_NCSS.strides),
        values_CTSS.ctypes.data,
        channels,
        frames,
        side,
        picture.ctypes.data,
        mirror,
        scales.ctypes.data,
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


def _check(codes_NCHW: np.ndarray, values_CTSS: np.ndarray, picture: np.ndarray, corner: tuple[int, int]) -> None:
    for name, array, dtype, dims in (
        ("codes", codes_NCHW, np.uint8, 4),
        ("values", values_CTSS, np.float32, 4),
        ("picture", picture, np.int64, 1),
    ):
        if array.dtype != dtype or array.ndim != dims:
            raise ValueError(
                f"{name} must be {np.dtype(dtype)} of {dims} dimensions, got {array.dtype} of {array.ndim}"
            )
    if not (values_CTSS.flags.c_contiguous and picture.flags.c_contiguous):
        raise ValueError("values and picture must be contiguous")
    (pictures, channels, height, width), (into, frames, side, columns) = codes_NCHW.shape, values_CTSS.shape
    if codes_NCHW.strides[3] != 1 and not (channels == codes_NCHW.strides[3] == 3 and codes_NCHW.strides[1] == 1):
        raise ValueError(f"pixels of codes lie {codes_NCHW.strides[3]} bytes apart")
    if into != channels or side != columns or len(picture) != frames:
        raise ValueError(f"{codes_NCHW.shape} to {values_CTSS.shape} of {len(picture)} pictures")
    if frames and not 0 <= picture.min() <= picture.max() < pictures:
        raise ValueError(f"picture {picture.min()} to {picture.max()} is not within {pictures}")
    if not (0 <= corner[0] <= height - side and 0 <= corner[1] <= width - side):
        raise ValueError(f"a cut of {side} from {corner} is not within {height}x{width}")


def _plain(
    cut_NCSS: np.ndarray,
    values_CTSS: np.ndarray,
    picture: np.ndarray,
    *,
    mirror: bool,
    scales: np.ndarray,
    mean: float,
    bound: float,
) -> None:
    for frame, number in enumerate(picture):
        codes_CSS = cut_NCSS[number, :, :, ::-1] if mirror else cut_NCSS[number]
        values = np.subtract(codes_CSS, np.float32(mean), dtype=np.float32)
        values *= scales[:, None, None]
        np.clip(values, -bound, bound, out=values_CTSS[:, frame])


@cache
def _library() -> ctypes.CDLL | None:
    folder = Path(__file__).parent
    path = next((found for suffix in EXTENSION_SUFFIXES if (found := folder / f"_normalise{suffix}").exists()), None)
    if path is None:
        logger.warning("pipelines.normalise was installed without a C++ compiler: batches take several times the CPU")
        return None
    library = ctypes.CDLL(str(path))
    pointer, size, real, whole = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int
    library.kineflow_normalise.argtypes = [
        *(pointer, ctypes.POINTER(ctypes.c_ssize_t), pointer, size, size, size, pointer, whole, pointer),
        *(real, real, real, whole),
    ]
    return library
