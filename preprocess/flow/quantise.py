"""Flow as 8 bits a component: linear, clipped to +-20 px as the published I3D flow is, and centred on a code for zero.

The usual scale of 255/40 has no code for zero, which gives every still pixel a motion of 0.07 px. Here zero is exact,
and mirroring is exact too: u becomes -u as 128 + c becomes 128 - c. Code 0 is not used.
"""

import numpy as np

FLOW_BOUND = 20.0
"""Pixels a frame; what is faster is clipped."""
FLOW_ZERO = 128
"""The code of no motion."""
FLOW_SCALE = 127 / FLOW_BOUND
"""Codes a pixel."""


def quantise(flow: np.ndarray) -> np.ndarray:
    """Flow in pixels to codes: clip(rint(f * 127 / 20) + 128, 1, 255).

    Args:
        flow: float, any shape, px a frame. Not-a-number is an error of the caller.

    Returns:
        uint8, the same shape.
    """
    codes: np.ndarray = np.clip(np.rint(flow * FLOW_SCALE) + FLOW_ZERO, 1, 255).astype(np.uint8)
    return codes


def dequantise(codes: np.ndarray) -> np.ndarray:
    """Codes to flow in pixels a frame, within half a step (0.08 px) inside the bound.

    Args:
        codes: uint8, any shape.

    Returns:
        float32, the same shape, in [-20.16, 20]; code 0, which `quantise` never makes, can come from JPEG coding.
    """
    flow: np.ndarray = np.divide(codes.astype(np.float32) - FLOW_ZERO, FLOW_SCALE, dtype=np.float32)
    return flow
