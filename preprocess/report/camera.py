"""How much of a flow field one motion of the whole picture explains: what a moving camera leaves.

The motion is affine, six numbers, and it is the dominant one: estimated robustly, so that what moves on its own does
not bend it. Source: Odobez and Bouthemy, "Robust multiresolution estimation of parametric motion models", JVCIR 6
(1995); that it stands for the camera follows Jain, Jegou and Bouthemy, "Better exploiting motion for better action
recognition", CVPR 2013. It cannot tell a camera from one thing that fills most of the picture.

Shapes: H, W = pixels, N = points, M = numbers of a component (3).
"""

import math

import numpy as np

POINTS = 4096
"""About as many pixels of a field are looked at, on a regular grid."""
_ITERATIONS = 10
_TUKEY = 4.685
"""Residuals beyond so many standard deviations have no weight: 95 % efficiency for normal errors."""
_NORMAL = 1.1774
"""Median length of a two-dimensional normal error, in standard deviations of a component."""
_LEAST_SCALE_PX = 0.1
"""Half a code and the noise of JPEG: what an exact motion leaves."""


def camera_energy(flow_2HW: np.ndarray, *, bound: float) -> tuple[float, float]:
    """Flow energy of a field, and how much of it the dominant affine motion explains.

    Energy is the sum of u^2 + v^2 over the points. Explained is the energy without that of the residuals, at least 0.
    Points at the bound are left out: their motion is not known.

    Args:
        flow_2HW: float32 [2, H, W], px.
        bound: px; what moves as fast or faster along an axis was clipped.

    Returns:
        (energy, explained), px^2, both 0 where nothing moves.
    """
    _, height, width = flow_2HW.shape
    step = max(1, round(math.sqrt(height * width / POINTS)))
    grid_2HW = flow_2HW[:, step // 2 :: step, step // 2 :: step]
    inside_HW = (np.abs(grid_2HW) < bound).all(axis=0)
    y_N, x_N = np.nonzero(inside_HW)
    flow_N2 = grid_2HW[:, inside_HW].T.astype(np.float64)
    # coordinates of about 1, so that the normal equations are well conditioned
    scale = max(grid_2HW.shape[1:])
    place_NM = np.stack([np.ones(len(flow_N2)), x_N / scale - 0.5, y_N / scale - 0.5], axis=1)
    energy = float(np.square(flow_N2).sum())
    if not energy:
        return 0.0, 0.0
    residual_N2 = flow_N2 - place_NM @ dominant_motion(place_NM, flow_N2)
    return energy, max(0.0, energy - float(np.square(residual_N2).sum()))


def dominant_motion(place_NM: np.ndarray, flow_N2: np.ndarray) -> np.ndarray:
    """The affine motion of most points, by reweighted least squares with Tukey's biweight.

    Args:
        place_NM: float64 [N, 3], 1, x, y of each point, N at least 1.
        flow_N2: float64 [N, 2].

    Returns:
        float64 [3, 2], which takes a place to its flow.
    """
    motion_M2 = np.zeros((3, 2))
    # from the motion of most: least squares would start half way between the picture and what moves in it
    motion_M2[0] = np.median(flow_N2, axis=0)
    for _ in range(_ITERATIONS):
        length_N = np.hypot(*(flow_N2 - place_NM @ motion_M2).T)
        limit = _TUKEY * max(float(np.median(length_N)) / _NORMAL, _LEAST_SCALE_PX)
        weight_N1 = np.square(np.maximum(0, 1 - np.square(length_N / limit)))[:, None]
        weighted_MN = (place_NM * weight_N1).T
        # lstsq, not solve: a field may be one line of pixels
        motion_M2 = np.linalg.lstsq(weighted_MN @ place_NM, weighted_MN @ flow_N2)[0]
    return motion_M2
