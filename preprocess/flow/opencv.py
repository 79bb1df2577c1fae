"""TV-L1 by OpenCV's `DualTVL1OpticalFlow`: slow, one pair at a time, and the reference for everything faster."""

import cv2
import numpy as np

from preprocess.errors import InvalidInput
from preprocess.flow.params import Tvl1Params


def flow_of_clip(frames_THW: np.ndarray, params: Tvl1Params, *, threads: int = 1) -> np.ndarray:  # noqa: ARG001
    """Flow of every pair of neighbours, on one thread whatever `threads` says. float32 [T-1, 2, H, W].

    Raises:
        InvalidInput: a convention or stop test that OpenCV's CPU class does not have.
    """
    if params.convention != "opencv-cpu" or params.check_every != 1:
        asked = f"convention {params.convention!r} with check_every {params.check_every}"
        raise InvalidInput(f"the opencv backend has convention 'opencv-cpu' with check_every 1 only, got {asked}")
    cv2.setNumThreads(1)  # callers run one process a core
    solver = cv2.optflow.DualTVL1OpticalFlow_create(  # type: ignore[attr-defined]  # not in its stubs
        tau=params.tau,
        lambda_=params.lambda_,
        theta=params.theta,
        epsilon=params.epsilon,
        nscales=params.scales,
        scaleStep=params.scale_step,
        warps=params.warps,
        innnerIterations=params.inner_iterations,  # sic: OpenCV's spelling
        outerIterations=params.outer_iterations,
        medianFiltering=params.median,
        useInitialFlow=False,
    )
    flow_T2HW = np.empty((len(frames_THW) - 1, 2, *frames_THW.shape[1:]), np.float32)
    for index in range(len(flow_T2HW)):
        flow_HW2 = solver.calc(frames_THW[index], frames_THW[index + 1], None)
        flow_T2HW[index] = flow_HW2.transpose(2, 0, 1)
    return flow_T2HW


def is_available() -> bool:
    """Whether this OpenCV has the optflow module, which is in the contrib packages only."""
    return hasattr(cv2, "optflow")
