"""Networks of a sixteenth of the width, and files of their weights."""

from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import save_file

from i3d_train.models import build
from i3d_train.models.network import Network
from i3d_train.weight_info import FPS, SHORT_SIDE, WeightsInfo, header_of

WIDTH = 1 / 16


def small_network(model: str, *, stream: str, num_classes: int = 2) -> Network:
    """In evaluation mode, with BatchNorm averages unlike their defaults."""
    network = build(model, num_classes=num_classes, stream=stream, width=WIDTH).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network


def write_small(
    path: Path,
    network: Network,
    *,
    model: str,
    labels: tuple[str, ...] = ("dark", "light"),
    short_side: int = SHORT_SIDE,
    fps: Fraction = FPS,
) -> Path:
    """Save as safetensors, as `i3d_train convert` does; returns `path`."""
    info = WeightsInfo(
        path=path,
        model=model,
        stream=network.stream,
        num_classes=network.num_classes,
        labels=labels if network.num_classes == len(labels) else (),
        width=network.width,
        short_side=short_side,
        fps=fps,
    )
    tensors: dict[str, torch.Tensor] = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata=header_of(info, source={}))
    return path
