"""TV-L1 optical flow, and its 8-bit code.

from preprocess.flow import tvl1, quantise
flow_T2HW = tvl1(frames_THW)          # float32, pixels a frame
codes_T2HW = quantise(flow_T2HW)      # uint8, 128 is no motion
"""

from preprocess.flow.api import BACKENDS, answering, available_backends, resolve_backend, tvl1, tvl1_codes, tvl1_many
from preprocess.flow.params import Tvl1Params, opencv_cuda_params
from preprocess.flow.quantise import FLOW_BOUND, FLOW_SCALE, FLOW_ZERO, dequantise, quantise

__all__ = [
    "BACKENDS",
    "FLOW_BOUND",
    "FLOW_SCALE",
    "FLOW_ZERO",
    "Tvl1Params",
    "answering",
    "available_backends",
    "dequantise",
    "opencv_cuda_params",
    "quantise",
    "resolve_backend",
    "tvl1",
    "tvl1_codes",
    "tvl1_many",
]
