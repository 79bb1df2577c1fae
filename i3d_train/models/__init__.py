"""The networks by name: a new one is a file beside this one and a line in `MODELS`.

PyTorch is imported when a network is asked for, not before: `--help` names the networks at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from preprocess.errors import InvalidInput

if TYPE_CHECKING:
    from i3d_train.models.network import Network

__all__ = ["MODELS", "build", "network_class", "streams_of"]

MODELS: dict[str, str] = {
    "i3d": "inception_i3d.InceptionI3D",
    "convnet_lstm": "convnet_lstm.ConvNetLSTM",
    "c3d": "c3d.C3D",
    "two_stream": "two_stream.TwoStream",
    "fused": "fused.Fused",
}
"""Name to the file in this folder and the class in it."""


def network_class(name: str) -> "type[Network]":
    """The class behind a name, with its `streams`, `min_frames` and `sampling`.

    Raises:
        InvalidInput: unknown name.
    """
    if name not in MODELS:
        raise InvalidInput(f"model {name!r} is unknown; use one of {', '.join(MODELS)}")
    file, _, class_name = MODELS[name].partition(".")
    network: type[Network] = getattr(import_module(f"{__name__}.{file}"), class_name)
    return network


def streams_of(name: str) -> tuple[str, ...]:
    """What `build` takes as stream: the network's own, and `both` where one for each can be fused late.

    Raises:
        InvalidInput: unknown name.
    """
    streams = network_class(name).streams
    return (*streams, "both") if streams == ("rgb", "flow") else streams


def build(name: str, *, num_classes: int, stream: str, width: float = 1.0) -> "Network":
    """A freshly initialised network.

    Args:
        name: a key of `MODELS`.
        num_classes: length of the logits, at least 1.
        stream: what it will be fed, one of `streams_of`; `both` of a network that has no such stream of its own is
            two of them, fused late.
        width: share of the published channels, above 0 and at most 1.

    Raises:
        InvalidInput: unknown name, a stream that this network has no input for, no class at all, or another width.
    """
    network, streams = network_class(name), streams_of(name)
    if stream not in streams:
        raise InvalidInput(f"model {name!r} has no stream {stream!r}; use one of {', '.join(streams)}")
    if num_classes < 1:
        raise InvalidInput(f"num_classes must be at least 1, got {num_classes}")
    if not 0 < width <= 1:
        raise InvalidInput(f"width must be above 0 and at most 1, got {width}")
    # a class that comes in one width only need not know of others
    options = {} if width == 1 else {"width": width}
    if stream in network.streams:
        return network(num_classes=num_classes, stream=stream, **options)
    from i3d_train.models.late_fusion import LateFusion

    rgb, flow = (network(num_classes=num_classes, stream=one, **options) for one in network.streams)
    return LateFusion(rgb=rgb, flow=flow)
