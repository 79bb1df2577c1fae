"""Parameters of TV-L1, under the names of the papers."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from preprocess.errors import InvalidInput


class Convention(NamedTuple):
    """How the second frame is sampled: by cubic convolution."""

    cubic: float
    """Its coefficient, a."""
    zero_outside: bool
    """Zero outside the picture, otherwise the nearest pixel."""


CONVENTIONS = {
    "opencv-cpu": Convention(cubic=-0.75, zero_outside=True),
    "opencv-cuda": Convention(cubic=-0.5, zero_outside=False),
}
"""OpenCV's DualTVL1OpticalFlow, and cv::cuda::OpticalFlowDual_TVL1. That CUDA code has no median either, and up to 300
iterations: see `opencv_cuda_params`."""
MOST = 1_000_000
"""Of anything that is counted, but for the levels."""
MOST_SCALES = 64
"""As in csrc/solver.h; with the usual step of 0.8 a shorter side of 4096 px has 25."""


@dataclass(frozen=True, kw_only=True)
class Tvl1Params:
    """What the TV-L1 solver minimises and how long it tries.

    Defaults are those of OpenCV's `DualTVL1OpticalFlow`, which the published I3D flow was made with.

    Source: Zach, Pock, Bischof 2007; Sanchez Perez, Meinhardt-Llopis, Facciolo 2013 (IPOL).
    """

    tau: float = 0.25
    """Time step of the dual variable; stable up to 0.25."""
    lambda_: float = 0.15
    """Weight of the data term: smaller is smoother."""
    theta: float = 0.3
    """Tightness: how far the two halves of the split problem may differ."""
    epsilon: float = 0.01
    """Stop when the mean squared change of the flow falls below its square, in px."""
    scales: int = 5
    """Levels of the pyramid; fewer when a side would fall below 16 px."""
    scale_step: float = 0.8
    """Size of a level, relative to the finer one."""
    warps: int = 5
    """Times the second frame is warped by the flow so far, a level."""
    inner_iterations: int = 30
    """Iterations between two median filters."""
    outer_iterations: int = 10
    """Median filters a warp."""
    median: int = 5
    """Size of the median filter on the flow: 1 (none), 3 or 5."""
    convention: str = "opencv-cpu"
    """How the second frame is sampled, of `CONVENTIONS`."""
    check_every: int = 1
    """Iterations between two tests whether to stop, counted from each median filter."""

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            raise InvalidInput(f"TV-L1 convention {self.convention!r} is unknown; use {', '.join(CONVENTIONS)}")
        for name in ("tau", "lambda_", "theta", "epsilon", "scale_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"TV-L1 {name} must be a finite number above 0, got {value}")
        if not 1e-6 <= self.tau <= 0.25:
            raise InvalidInput(f"TV-L1 tau must be at most 0.25 to be stable, and at least 1e-6, got {self.tau}")
        if self.scale_step >= 1:
            raise InvalidInput(f"TV-L1 scale_step must be below 1, got {self.scale_step}")
        for name in ("scales", "warps", "inner_iterations", "outer_iterations", "check_every"):
            most = MOST_SCALES if name == "scales" else MOST
            if not 1 <= getattr(self, name) <= most:
                raise InvalidInput(f"TV-L1 {name} must be at least 1, and at most {most}, got {getattr(self, name)}")
        if self.median not in {1, 3, 5}:
            raise InvalidInput(f"TV-L1 median must be 1, 3 or 5, got {self.median}")


def opencv_cuda_params() -> Tvl1Params:
    """The defaults of `cv::cuda::OpticalFlowDual_TVL1`, which differ from those of OpenCV's CPU class."""
    return Tvl1Params(convention="opencv-cuda", inner_iterations=300, outer_iterations=1, median=1)
