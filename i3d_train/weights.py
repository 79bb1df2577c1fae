"""Weights from files: released networks under their TensorFlow names (.npz), and our checkpoints (.pt).

Files may come from anybody: neither format is allowed to unpickle objects, and an array's declared shape is
compared with the network's before it is read.
"""

import logging
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch

from i3d_train import checkpoint
from i3d_train.models.network import Network
from preprocess.errors import InvalidInput

logger = logging.getLogger(__name__)

_TF_ROOTS: dict[str, str] = {"rgb": "RGB/inception_i3d/", "flow": "Flow/inception_i3d/"}
_TF_HEAD = "Logits/Conv3d_0c_1x1/conv_3d/b"
_TF_LEAVES: dict[str, str] = {
    "conv.weight": "conv_3d/w",
    "bn.weight": "batch_norm/gamma",
    "bn.bias": "batch_norm/beta",
    "bn.running_mean": "batch_norm/moving_mean",
    "bn.running_var": "batch_norm/moving_variance",
    "weight": "conv_3d/w",
    "bias": "conv_3d/b",
}
# the released variables carry the parent's slip: this one unit is called 0a where its eight siblings are 0b
_TF_SLIP = ("Mixed_5b/Branch_2/Conv3d_0b_3x3", "Mixed_5b/Branch_2/Conv3d_0a_3x3")


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """What a file of weights is for, known before a network is built."""

    path: Path
    model: str
    """A key of `i3d_train.models.MODELS`."""
    stream: str
    num_classes: int
    labels: tuple[str, ...]
    """Class names in the order of the logits; empty when the file carries none."""


class _Source(Protocol):
    """An open file of weights."""

    info: WeightsInfo

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of what the file has for the network's tensor `name`; None when it has nothing."""

    def read(self, name: str) -> torch.Tensor:
        """The tensor `name`."""

    def unused(self, names: set[str]) -> list[str]:
        """What the file has besides the tensors `names`."""


def describe(path: Path) -> WeightsInfo:
    """Which network, stream and classes a file of weights is for.

    Raises:
        InvalidInput: no such file, unknown format, damaged, or not weights of a network known here.
    """
    return _open(path).info


def load(model: Network, path: Path, *, head: bool = True) -> None:
    """Copy a file's weights into `model`.

    Args:
        model: built for the stream, and with `head` the number of classes, that `describe` tells.
        path: `.npz` with the released networks' TensorFlow variables, or one of our checkpoints (`.pt`).
        head: also the classifier; without it the model keeps its own, for other classes than the file's.

    Raises:
        InvalidInput: another stream or number of classes; tensors that are missing, mis-shaped or not finite,
            all of them named; or the file is damaged.
    """
    source = _open(path)
    info = source.info
    if model.stream != info.stream:
        raise InvalidInput(f"{path} holds weights for stream {info.stream}, the network was built for {model.stream}")
    if head and model.num_classes != info.num_classes:
        raise InvalidInput(f"{path} has {info.num_classes} classes, the network was built for {model.num_classes}")
    state = model.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if head or not name.startswith(f"{model.head}.")}
    faults = []
    for name, tensor in wanted.items():
        found = source.shape(name)
        if found is None:
            faults.append(f"{name} is missing")
        elif found != tuple(tensor.shape):
            faults.append(f"{name} is {list(found)}, expected {list(tensor.shape)}")
    if faults:
        raise InvalidInput(f"{path} does not fit the network: {'; '.join(faults)}")
    tensors = {name: source.read(name).to(tensor.dtype) for name, tensor in wanted.items()}
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise InvalidInput(f"{path} holds values that are not finite in {', '.join(broken)}")
    model.load_state_dict(state | tensors)
    if unused := source.unused(set(state)):
        logger.info("%s: %d entries not used: %s", path.name, len(unused), ", ".join(unused))


def _open(path: Path) -> _Source:
    if path.suffix not in FORMATS:
        raise InvalidInput(f"weights {path} have an unknown format; use one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise InvalidInput(f"weights {path} do not exist")
    return FORMATS[path.suffix](path)


class _TensorFlowVariables:
    """A `.npz` with one array a variable, kernels as [T, H, W, in, out]."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [name for name in archive.namelist() if name.endswith(".npy")]
                self._shapes = {entry.removesuffix(".npy"): _npy_shape(archive, entry) for entry in entries}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InvalidInput(f"{path} is not a whole .npz of plain arrays ({error}); fetch it again") from error
        streams = [stream for stream, root in _TF_ROOTS.items() if root + _TF_HEAD in self._shapes]
        if len(streams) != 1:
            expected = " or ".join(root + _TF_HEAD for root in _TF_ROOTS.values())
            raise InvalidInput(f"{path} is not a released I3D: it should hold either {expected}")
        self._root = _TF_ROOTS[streams[0]]
        num_classes = math.prod(self._shapes[self._root + _TF_HEAD])
        self.info = WeightsInfo(path=path, model="i3d", stream=streams[0], num_classes=num_classes, labels=())

    def shape(self, name: str) -> tuple[int, ...] | None:
        found = self._shapes.get(self._variable(name))
        if found is None:
            # the released networks have no scale, and no count of batches
            return {"bn.weight": self._like_offset(name), "num_batches_tracked": ()}.get(_leaf(name))
        if len(found) == 5 and name.endswith(("conv.weight", "Conv3d_0c_1x1.weight")):
            kernel_T, kernel_H, kernel_W, inputs, outputs = found
            return (outputs, inputs, kernel_T, kernel_H, kernel_W)
        return (math.prod(found),)

    def read(self, name: str) -> torch.Tensor:
        variable = self._variable(name)
        if variable not in self._shapes:
            return torch.ones(self.shape(name) or ()) if _leaf(name) == "bn.weight" else torch.tensor(0)
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                array = archive[variable]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InvalidInput(f"{self._path}: {variable} cannot be read ({error}); fetch the file again") from error
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.permute(4, 3, 0, 1, 2) if len(self.shape(name) or ()) == 5 else tensor.reshape(-1)

    def unused(self, names: set[str]) -> list[str]:
        return sorted(set(self._shapes) - {self._variable(name) for name in names})

    def _variable(self, name: str) -> str:
        leaf = _leaf(name)
        unit = name.removesuffix(leaf).replace(".", "/").replace(*_TF_SLIP)
        return self._root + unit + _TF_LEAVES.get(leaf, leaf)

    def _like_offset(self, name: str) -> tuple[int, ...] | None:
        return self.shape(name.removesuffix("weight") + "bias") if _leaf(name) == "bn.weight" else None


def _leaf(name: str) -> str:
    # "Mixed_3b.Branch_0.Conv3d_0a_1x1.bn.weight" -> "bn.weight"
    for leaf in _TF_LEAVES:
        if name.endswith(f".{leaf}"):
            return leaf
    return name.rpartition(".")[2]


def _npy_shape(archive: zipfile.ZipFile, entry: str) -> tuple[int, ...]:
    file: IO[bytes]
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.kind != "f":
        raise ValueError(f"{entry} holds {dtype}, not floating-point numbers")
    return tuple(int(length) for length in shape)


class _OwnCheckpoint:
    """A `.pt` that `i3d_train run` wrote."""

    def __init__(self, path: Path) -> None:
        saved = checkpoint.load(path)
        self._tensors = saved.model
        self.info = WeightsInfo(
            path=path,
            model=saved.model_name,
            stream=saved.stream,
            num_classes=saved.num_classes,
            labels=saved.labels,
        )

    def shape(self, name: str) -> tuple[int, ...] | None:
        return tuple(self._tensors[name].shape) if name in self._tensors else None

    def read(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def unused(self, names: set[str]) -> list[str]:
        return sorted(set(self._tensors) - names)


FORMATS: dict[str, Callable[[Path], _Source]] = {
    ".npz": _TensorFlowVariables,
    ".pt": _OwnCheckpoint,
}
