"""The flow API: one call for a clip, one for many, whatever computes it.

Shapes: T = frames, H, W = pixels; flow is [T-1, 2, H, W] with u (to the right) before v (down).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from preprocess.errors import DeviceLost, EnvironmentProblem, InvalidInput
from preprocess.flow import cpu, cuda, cuda_device, opencv
from preprocess.flow.frames import check_frames
from preprocess.flow.params import Tvl1Params
from preprocess.flow.quantise import quantise

_PAIRS_AT_ONCE = 64
"""For each thread in one call: two minutes of float32 flow would be gigabytes, and a signal waits for the call."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One implementation of TV-L1."""

    flow_of_clip: Callable[..., np.ndarray]
    """`(frames_THW, params, *, threads)`: uint8 [T, H, W] to float32 [T-1, 2, H, W] px."""
    is_available: Callable[[], bool]
    """Whether this machine can run it."""
    needs: str
    """What to install or buy when it is not available."""
    on_gpu: bool
    """Whether it computes on a GPU."""
    flow_of_clips: Callable[[Sequence[np.ndarray], Tvl1Params], list[np.ndarray]] | None = None
    """The same for many clips, where that is faster than one by one."""
    codes_of_clip: Callable[..., np.ndarray] | None = None
    """As `flow_of_clip`, but uint8 codes, quantised where they are computed: a quarter of the bytes to bring back."""
    clips_at_once: int = 1
    """Clips whose flow is best computed at a time, each from its own thread, where many are to be done."""
    require_answer: Callable[[], None] = lambda: None
    """Raises DeviceDead when what it computes on is there but does not compute."""


BACKENDS: dict[str, Backend] = {
    "cuda": Backend(
        flow_of_clip=cuda.flow_of_clip,
        is_available=cuda.is_available,
        needs=cuda.NEEDS,
        on_gpu=True,
        flow_of_clips=cuda.flow_of_clips,
        codes_of_clip=cuda.codes_of_clip,
        clips_at_once=3,  # the last pairs of one that converge leave a GPU to the others
        require_answer=cuda_device.require_answer,
    ),
    "cpu": Backend(
        flow_of_clip=cpu.flow_of_clip,
        is_available=cpu.is_available,
        needs="the compiled extension: install a C++ compiler and then kineflow again",
        on_gpu=False,
    ),
    "opencv": Backend(
        flow_of_clip=opencv.flow_of_clip,
        is_available=opencv.is_available,
        needs="an OpenCV with the optflow module: pip install opencv-contrib-python-headless",
        on_gpu=False,
    ),
}
"""Name to implementation, best first: `auto` takes the first that is available."""


def available_backends() -> list[str]:
    """Names of the backends that this machine can run, best first."""
    return [name for name, backend in BACKENDS.items() if backend.is_available()]


def resolve_backend(name: str = "auto", *, on_gpu: bool | None = None, here: bool = True) -> str:
    """The backend that `name` stands for.

    Args:
        name: `auto` for the best one, or a name of `BACKENDS`.
        on_gpu: whether it must compute on a GPU, or must not; None takes either.
        here: whether it is to run on this machine; otherwise what is lacking here does not matter.

    Raises:
        InvalidInput: no such backend, or it does not compute where it must.
        EnvironmentProblem: it, or for `auto` every one, lacks something here.
    """
    wanted = {key: backend for key, backend in BACKENDS.items() if on_gpu in {None, backend.on_gpu}}
    if name == "auto":
        for best, backend in wanted.items():
            if not here or backend.is_available():
                logger.info("flow backend: %s", best)
                return best
            if not backend.on_gpu:
                logger.warning("flow backend %s, the faster one, cannot run here: it needs %s", best, backend.needs)
        needs = "; ".join(f"{key} needs {backend.needs}" for key, backend in wanted.items())
        raise EnvironmentProblem(f"no flow backend can run here: {needs}")
    if name not in BACKENDS:
        raise InvalidInput(f"flow backend {name!r} is unknown; use auto, {', '.join(BACKENDS)}")
    if name not in wanted:
        other, option = ("CPU", "cpus") if on_gpu else ("GPU", "gpus")
        raise InvalidInput(f"flow backend {name!r} computes on the {other}; use --{option} N")
    if here and not BACKENDS[name].is_available():
        raise EnvironmentProblem(f"flow backend {name!r} cannot run here; it needs {BACKENDS[name].needs}")
    return name


@contextmanager
def answering(backend: str) -> Iterator[None]:
    """Tell a GPU that is gone from one that failed in the middle, and from all else that may be wrong.

    Raises:
        DeviceDead: there is no answer from what the backend computes on, before the block or after an error in it.
        OutOfDeviceMemory: it has no memory left before the block.
        DeviceLost: as raised in the block.
    """
    require_answer = BACKENDS[backend].require_answer
    require_answer()
    try:
        yield
    except DeviceLost:
        raise
    except EnvironmentProblem:
        with suppress(cuda_device.OutOfDeviceMemory):
            require_answer()
        raise


def tvl1(
    frames_THW: np.ndarray, params: Tvl1Params = Tvl1Params(), *, backend: str = "auto", threads: int = 1
) -> np.ndarray:
    """Optical flow between neighbouring frames of a clip.

    Args:
        frames_THW: uint8, gray, at least 2 frames of at least 16 x 16 px.
        params: of the solver.
        backend: `auto` or a name of `BACKENDS`.
        threads: that the `cpu` backend may use; the result does not depend on it.

    Returns:
        float32 [T-1, 2, H, W], px a frame: what is at (x, y) in frame t is at (x + u, y + v) in frame t + 1.

    Raises:
        InvalidInput: wrong dtype, rank or size, no thread, or an unknown backend.
        EnvironmentProblem: the backend cannot run here.

    Source: Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007.
    """
    _check(frames_THW, threads)
    return BACKENDS[resolve_backend(backend)].flow_of_clip(frames_THW, params, threads=threads)


def tvl1_codes(
    frames_THW: np.ndarray, params: Tvl1Params = Tvl1Params(), *, backend: str = "auto", threads: int = 1
) -> np.ndarray:
    """`quantise(tvl1(...))`, quantised on the GPU where the flow is computed there, else a few pairs at a time.

    Returns:
        uint8 [T-1, 2, H, W], the codes that shards hold.

    Raises:
        InvalidInput, EnvironmentProblem: as `tvl1`.
    """
    _check(frames_THW, threads)
    found = BACKENDS[resolve_backend(backend)]
    if found.codes_of_clip is not None:
        return found.codes_of_clip(frames_THW, params, threads=threads)
    count, height, width = frames_THW.shape
    codes_T2HW = np.empty((count - 1, 2, height, width), np.uint8)
    pairs = _PAIRS_AT_ONCE * threads
    for first in range(0, count - 1, pairs):
        part_THW = frames_THW[first : first + pairs + 1]
        codes_T2HW[first : first + pairs] = quantise(found.flow_of_clip(part_THW, params, threads=threads))
    return codes_T2HW


def tvl1_many(
    clips: Sequence[np.ndarray], params: Tvl1Params = Tvl1Params(), *, backend: str = "auto"
) -> list[np.ndarray]:
    """`tvl1` of each clip; clips may differ in length and size.

    Raises:
        InvalidInput: no clips, or one that `tvl1` refuses.
        EnvironmentProblem: the backend cannot run here.
    """
    if not clips:
        raise InvalidInput("tvl1_many needs at least one clip, got none")
    for frames_THW in clips:
        check_frames(frames_THW)
    found = BACKENDS[resolve_backend(backend)]
    if found.flow_of_clips is not None:
        return found.flow_of_clips(clips, params)
    return [found.flow_of_clip(frames_THW, params, threads=1) for frames_THW in clips]


def _check(frames_THW: np.ndarray, threads: int) -> None:
    check_frames(frames_THW)
    if threads < 1:
        raise InvalidInput(f"threads must be at least 1, got {threads}")
