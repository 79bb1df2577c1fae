"""Files of weights under the released networks' variable names, written without the code under test."""

from pathlib import Path

import numpy as np
import torch

from i3d_train.models.inception_i3d import InceptionI3D

ROOTS = {"rgb": "RGB/inception_i3d", "flow": "Flow/inception_i3d"}


def random_i3d(*, num_classes: int, stream: str) -> InceptionI3D:
    """A network with running averages and offsets unlike their defaults, and without scale."""
    network = InceptionI3D(num_classes=num_classes, stream=stream).eval()
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


def write_released(path: Path, variables: dict[str, np.ndarray]) -> Path:
    """Save as `.npz`; returns `path`."""
    np.savez(path, **variables)  # type: ignore[arg-type]
    return path


def same_tensors(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    """Whether all parameters and buffers agree to the bit."""
    there = right.state_dict()
    return all(torch.equal(tensor, there[name]) for name, tensor in left.state_dict().items())
