"""Files of weights under the names of the released networks and their ports, written without the code under test."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i3d_train.checkpoint import Checkpoint, save
from i3d_train.models.inception_i3d import InceptionI3D
from i3d_train.models.network import Network

ROOTS = {"rgb": "RGB/inception_i3d", "flow": "Flow/inception_i3d"}


def random_i3d(*, num_classes: int, stream: str, width: float = 1.0) -> InceptionI3D:
    """A network with running averages and offsets unlike their defaults, and without scale."""
    network = InceptionI3D(num_classes=num_classes, stream=stream, width=width).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bn.bias")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network


def released_variables(network: InceptionI3D) -> dict[str, np.ndarray]:
    """The network's tensors as the 230 variables of a released checkpoint."""
    variables = {}
    for name, tensor in network.state_dict().items():
        *unit, kind, leaf = name.split(".")
        path = "/".join([ROOTS[network.stream], *unit])
        path = path.replace("Mixed_5b/Branch_2/Conv3d_0b_3x3", "Mixed_5b/Branch_2/Conv3d_0a_3x3")
        array = tensor.numpy()
        match kind, leaf:
            case "conv", "weight":
                variables[f"{path}/conv_3d/w"] = array.transpose(2, 3, 4, 1, 0)
            case "Conv3d_0c_1x1", "weight":
                variables[f"{path}/Conv3d_0c_1x1/conv_3d/w"] = array.transpose(2, 3, 4, 1, 0)
            case "Conv3d_0c_1x1", "bias":
                variables[f"{path}/Conv3d_0c_1x1/conv_3d/b"] = array
            case "bn", "bias":
                variables[f"{path}/batch_norm/beta"] = array.reshape(1, 1, 1, 1, -1)
            case "bn", "running_mean":
                variables[f"{path}/batch_norm/moving_mean"] = array.reshape(1, 1, 1, 1, -1)
            case "bn", "running_var":
                variables[f"{path}/batch_norm/moving_variance"] = array.reshape(1, 1, 1, 1, -1)
    return variables


def port_state(network: InceptionI3D, port: str) -> dict[str, torch.Tensor]:
    """The network's tensors as the `state_dict()` of a PyTorch port, as old as the ports: without counts of batches."""
    rename = {"piergiaj": _piergiaj, "hassony2": _hassony2}[port]
    state = network.state_dict().items()
    return {rename(name): tensor for name, tensor in state if not name.endswith("num_batches_tracked")}


def _piergiaj(name: str) -> str:
    name = name.replace(".conv.", ".conv3d.").replace("Logits.Conv3d_0c_1x1.", "logits.conv3d.")
    name = re.sub(r"Branch_([03])\.Conv3d_0(.)_1x1", lambda m: "b0" if m[1] == "0" else "b3b", name)
    return re.sub(r"Branch_([12])\.Conv3d_0(.)_.x.", r"b\1\2", name)


def _hassony2(name: str) -> str:
    name = name.replace(".conv.", ".conv3d.").replace(".bn.", ".batch3d.")
    name = name.replace("Logits.Conv3d_0c_1x1.", "Conv3d_0c_1x1.conv3d.")
    name = re.sub(r"Branch_0\.Conv3d_0a_1x1", "Branch_0", name)
    name = re.sub(r"(Branch_.)\.Conv3d_0(.)_.x.", lambda m: f"{m[1]}.{'ab'.index(m[2])}", name)
    return name[0].lower() + name[1:].replace("Branch_", "branch_")


def write_released(path: Path, variables: dict[str, np.ndarray]) -> Path:
    """Save as `.npz`; returns `path`."""
    np.savez(path, **variables)  # type: ignore[arg-type]
    return path


def write_checkpoint(folder: Path, network: Network, *, model: str, **changes: Any) -> Path:
    """A checkpoint of a run that trained `network`, with as many classes as it has; returns its path."""
    saved = Checkpoint(
        step=5,
        model_name=model,
        stream=network.stream,
        num_classes=network.num_classes,
        labels=tuple(f"class {number}" for number in range(network.num_classes)),
        model=network.state_dict(),
        optimizer={},
        loader={},
        rng=[],
        config={"width": network.width, "transfer": "full"},
    )
    return save(folder, replace(saved, **changes), keep=1)


def same_tensors(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    """Whether all parameters and buffers agree to the bit."""
    there = right.state_dict()
    return all(torch.equal(tensor, there[name]) for name, tensor in left.state_dict().items())
