"""Every network at a sixteenth of its width, and clips as small as it takes."""

import torch

from i3d_train.models import MODELS, build, streams_of
from i3d_train.models.network import STREAM_CHANNELS, Clips, Network

BUILDS = [(name, stream) for name in MODELS for stream in streams_of(name)]
"""All that `build` makes."""

WIDTH = 1 / 16
CLASSES = 5

_FRAMES = {
    "i3d": {"rgb": 9, "flow": 9},
    "convnet_lstm": {"rgb": 3, "flow": 3},
    "c3d": {"rgb": 4, "flow": 4},
    "two_stream": {"rgb": 2, "flow": 20},
    "fused": {"rgb": 3, "flow": 30},
}
_SIDE = {"c3d": 97}


def small(name: str, stream: str, *, width: float = WIDTH, classes: int = CLASSES) -> Network:
    """A network in evaluation mode whose running averages are unlike their first values."""
    network = build(name, num_classes=classes, stream=stream, width=width).eval()
    return lively(network)


def lively(network: Network) -> Network:
    """`network` with running averages, scales and offsets unlike their first values, as after a training."""
    generator = torch.Generator().manual_seed(7)
    for key, tensor in network.state_dict().items():
        if key.endswith(("running_mean", "bn.bias")):
            tensor.normal_(std=0.1, generator=generator)
        elif key.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 2, generator=generator)
    return network


def clips(name: str, stream: str, *, batch: int = 2, side: int | None = None) -> Clips:
    """Noise of the right form."""
    side = side or _SIDE.get(name, 32)
    parts = {
        one: torch.rand(batch, channels, _FRAMES[name][one], side, side) * 2 - 1
        for one, channels in STREAM_CHANNELS.items()
    }
    return parts if stream == "both" else parts[stream]


def on_meta(name: str, stream: str, *, classes: int = 400) -> Network:
    """A network at full width, without numbers."""
    with torch.device("meta"):
        return build(name, num_classes=classes, stream=stream)


def seen(stream: str, *, rgb: int, flow: int, side: int) -> Clips:
    """A clip of so many frames and flow fields, without numbers."""
    parts = {
        "rgb": torch.empty(1, 3, rgb, side, side, device="meta"),
        "flow": torch.empty(1, 2, flow, side, side, device="meta"),
    }
    return parts if stream == "both" else parts[stream]
