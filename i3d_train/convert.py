"""Weights from one kind of file into another: anything that `i3d_train.weights` reads, as safetensors or `.npz`."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from i3d_train import weights
from i3d_train.labels import class_names
from i3d_train.models.convolution import scaled
from i3d_train.models.inception import STEM_CHANNELS
from i3d_train.models.network import Network
from i3d_train.options import check_not_read
from i3d_train.weight_info import FPS, SHORT_SIDE, WeightsInfo, header_of
from i3d_train.weight_names import HEAD, deepmind
from preprocess.address import shown
from preprocess.errors import InvalidInput
from preprocess.paths import publish


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written."""

    info: WeightsInfo
    """Of the new file."""
    tensors: int
    """In the new file."""
    numbers: int
    """In all of them."""
    source_sha256: str
    """Of the old file."""
    notes: tuple[str, ...] = ()
    """What is not in the new file, or not read by all."""


def convert(source: Path, target: Path, *, labels: Path | None = None) -> Converted:
    """Write the weights of `source` as the kind of file that the ending of `target` names.

    The same weights give the same bytes in `.safetensors`; `.npz` has the time in it.

    Args:
        source: see `weights.load`.
        target: `.safetensors`, with all that `WeightsInfo` tells and the hash of `source` in its metadata; or `.npz`,
            DeepMind's variables of an I3D. A file of that name is replaced.
        labels: class names, one a line, where `source` carries none.

    Raises:
        InvalidInput: an unknown ending, `source` is not whole or not known, the class names are not as many as the
            classes, or DeepMind's names do not exist for the network or do not tell its width.
        EnvironmentProblem: the disk is full, or a TensorFlow checkpoint and no TensorFlow.
    """
    if target.suffix not in _WRITERS:
        raise InvalidInput(f"{target} should end in {' or '.join(_WRITERS)}, which says what to write")
    check_not_read(target, source)
    info = weights.describe(source)
    if labels is not None:
        info = replace(info, labels=class_names(info.num_classes, file=labels))
    model = weights.restore(source)
    with info.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    written = _WRITERS[target.suffix](model, info, digest)
    publish(target, written.content)
    return Converted(
        info=weights.describe(target),
        tensors=len(written.sizes),
        numbers=sum(written.sizes),
        source_sha256=digest,
        notes=written.notes,
    )


def write_safetensors(model: Network, info: WeightsInfo, *, source: Mapping[str, str]) -> bytes:
    """A network as the content of a safetensors file that `weights` reads.

    Args:
        model: with the numbers to write.
        info: of this network; its `path` is not written.
        source: where the numbers come from, such as a file's `name` and `sha256`.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    content: bytes = save(tensors, metadata=header_of(info, source=source))
    return content


@dataclass(frozen=True, kw_only=True)
class _Written:
    content: bytes | memoryview
    sizes: tuple[int, ...]
    """Numbers of each tensor in it."""
    notes: tuple[str, ...] = ()


def _safetensors(model: Network, info: WeightsInfo, digest: str) -> _Written:
    content = write_safetensors(model, info, source={"name": shown(info.path.name), "sha256": digest})
    return _Written(content=content, sizes=tuple(tensor.numel() for tensor in model.state_dict().values()))


def _npz(model: Network, info: WeightsInfo, _: str) -> _Written:
    if info.model != "i3d":
        raise InvalidInput(f"{info.path} holds weights of {info.model}; .npz is for i3d only, write .safetensors")
    if scaled(STEM_CHANNELS, info.width) / STEM_CHANNELS != info.width:
        # which is how a reader of DeepMind's names tells the width
        raise InvalidInput(
            f"{info.path} holds a network of width {info.width:g}; .npz is for widths of n/{STEM_CHANNELS} only, "
            f"write .safetensors"
        )
    names = deepmind(info.stream).names
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    # the released networks have no scale, and one of ones says no more than that
    idle = [name for name, tensor in state.items() if name.endswith("bn.weight") and bool((tensor == 1).all())]
    variables = {names[name]: _as_variable(name, tensor) for name, tensor in state.items() if name not in idle}
    notes = []
    if info.labels:
        notes.append("the class names are not in it: .npz has no place for them")
    if info.short_side != SHORT_SIDE:
        notes.append(f"the short side of {info.short_side} pixels is not in it: {SHORT_SIDE} will be taken for it")
    if info.fps != FPS:
        notes.append(f"the {info.fps} frames a second are not in it: {FPS} will be taken for them")
    if info.transfer is not None:
        notes.append(f"transfer {info.transfer}, by which they were trained, is not in it: results will not tell it")
    if info.fold is not None:
        notes.append(f"fold {info.fold}, which they were trained on, is not in it: a test on others is not refused")
    if any(name.endswith("gamma") for name in variables):
        notes.append("BatchNorm's scale is in it as batch_norm/gamma, which DeepMind's own code does not read")
    buffer = io.BytesIO()
    np.savez(buffer, **variables)  # type: ignore[arg-type]
    sizes = tuple(variable.size for variable in variables.values())
    return _Written(content=buffer.getbuffer(), sizes=sizes, notes=tuple(notes))


def _as_variable(name: str, tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim == 5:
        return tensor.permute(2, 3, 4, 1, 0).contiguous().numpy()
    return tensor.numpy() if name.endswith(f"{HEAD}.bias") else tensor.reshape(1, 1, 1, 1, -1).numpy()


_WRITERS: dict[str, Callable[[Network, WeightsInfo, str], _Written]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
}
