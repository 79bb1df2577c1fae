"""When each step of a network is: the middle of the frames that it sees.

Only layers that stride or pad unevenly along time matter: a kernel of three that is padded by one on both sides sees
further, around the same middle.
"""

from dataclasses import dataclass

import numpy as np

from i3d_train.models import network_class
from i3d_train.models.convolution import same_padding
from preprocess.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class _Layer:
    kernel: int
    """Frames, or what is left of them."""
    stride: int
    padded: bool = True
    """As TensorFlow's SAME; otherwise not at all."""


_LAYERS: dict[str, tuple[_Layer, ...]] = {
    # the stem, the pools 4a and 5a, the average pool
    "i3d": (
        _Layer(kernel=7, stride=2),
        _Layer(kernel=3, stride=2),
        _Layer(kernel=2, stride=2),
        _Layer(kernel=2, stride=1, padded=False),
    ),
    "convnet_lstm": (),
    # five pools
    "c3d": (_Layer(kernel=2, stride=2),) * 5,
    "two_stream": (),
    # the pool after the fusion
    "fused": (_Layer(kernel=3, stride=2),),
}
"""Model to its layers, in order."""


def step_frames(model: str, frames: int) -> np.ndarray:
    """The middle of what each step sees, in frames from the first one of a window.

    Of the LSTM it is the frame that it saw last, of stacked flow the frame at which the stack begins.

    Args:
        model: a key of `i3d_train.models.MODELS`.
        frames: consecutive frames of the window.

    Returns:
        float64 [steps], 0 to `frames` - 1.

    Raises:
        InvalidInput: the layers of this network are not known here.

    Example:
        >>> step_frames("i3d", 64).tolist()
        [9.0, 17.0, 25.0, 33.0, 41.0, 49.0, 57.0]
    """
    if model not in _LAYERS:
        raise InvalidInput(f"when the steps of {model} are is not known; name its layers in i3d_train/step_times.py")
    sampling = network_class(model).sampling
    # position p of the present layer is frame every * p + first of the window
    every, first = float(max(sampling.rgb_stride, sampling.flow_stack)), 0.0
    length = -(-(frames - frames % sampling.flow_stack) // int(every))
    for layer in _LAYERS[model]:
        before, after = same_padding(length, kernel=layer.kernel, stride=layer.stride) if layer.padded else (0, 0)
        first += every * ((layer.kernel - 1) / 2 - before)
        length = (length + before + after - layer.kernel) // layer.stride + 1
        every *= layer.stride
    middle_S: np.ndarray = np.clip(every * np.arange(length) + first, 0, frames - 1)
    return middle_S
