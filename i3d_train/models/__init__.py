"""The networks by name: a new one is a file beside this one and a line in `MODELS`.

PyTorch is imported when a network is asked for, not before: `--help` names the networks at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from preprocess.errors import InvalidInput

if TYPE_CHECKING:
    from i3d_train.models.network import Network

__all__ = ["MODELS", "build", "network_class"]

MODELS: dict[str, str] = {
    "i3d": "inception_i3d.InceptionI3D",
}
"""Name to the file in this folder and the class in it."""


def network_class(name: str) -> "type[Network]":
    """The class behind a name, with its `streams` and `min_frames`.

    Raises:
        InvalidInput: unknown name.
    """
    if name not in MODELS:
        raise InvalidInput(f"model {name!r} is unknown; use one of {', '.join(MODELS)}")
    file, _, class_name = MODELS[name].partition(".")
    network: type[Network] = getattr(import_module(f"{__name__}.{file}"), class_name)
    return network


def build(name: str, *, num_classes: int, stream: str) -> "Network":
    """A freshly initialised network.

    Args:
        name: a key of `MODELS`.
        num_classes: length of the logits, at least 1.
        stream: what it will be fed, see the network's `streams`.

    Raises:
        InvalidInput: unknown name, a stream that this network has no input for, or no class at all.
    """
    network = network_class(name)
    if stream not in network.streams:
        raise InvalidInput(f"model {name!r} has no stream {stream!r}; use one of {', '.join(network.streams)}")
    if num_classes < 1:
        raise InvalidInput(f"num_classes must be at least 1, got {num_classes}")
    return network(num_classes=num_classes, stream=stream)
