"""Inflation: the filters of a two-dimensional Inception-v1 as the start of the networks that see video.

A filter is repeated N times along time and divided by N, so that a video in which nothing moves gives the answer of the
two-dimensional network (Carreira and Zisserman, section 2.4). It holds for every filter; of a whole I3D it holds where
the zeros that pad time at its ends are out of sight, or with `ConvUnit.edge_in_time`. Networks that see single frames
get N = 1, the filters as they are.

Files have the names of torchvision's GoogLeNet, whose published weights are a port of TF-Slim's Inception-v1, the
network that the I3D paper inflated. What was thought of:

- Its branch 3 has 3x3 kernels, as I3D has; a true GoogLeNet with 5x5 there is refused.
- BatchNorm: eps is 1e-3 on both sides; the scale, which the released I3D does not have, is kept, since ours has one.
- Its first layer pads 3 pixels before, ours (TF-Slim's SAME) 2 before and 3 after at even sizes. The filters are the
  same and see the image one pixel apart.
- Input: torchvision's own weights are for values in [-1, 1] (its `transform_input` maps to that range), which is what
  our networks are given. Weights that were trained on inputs of other mean and scale load too, and start worse: a file
  does not tell.
- Flow has other channels: the mean over red, green and blue, once for each channel, as Temporal Segment Networks do
  (Wang et al., ECCV 2016, "cross modality pre-training"). The I3D paper does not say what it did.
- The classifier of 1000 ImageNet classes and the two auxiliary ones are left out.

Shapes: O, I = output and input channels, T = frames, H, W = pixels.
"""

import logging
from pathlib import Path

import torch

from i3d_train.models.network import Network
from i3d_train.weight_files import TensorFile, open_tensors
from i3d_train.weight_names import HEAD, STEM_WEIGHT, TORCHVISION
from i3d_train.weights import named
from preprocess.errors import InvalidInput

logger = logging.getLogger(__name__)

_COLOURS = 3
_NOT_NEEDED = ("fc.", "aux1.", "aux2.")
_KERNEL = ".conv.weight"
_COUNT = ".num_batches_tracked"


def load(model: Network, path: Path) -> None:
    """Start every Inception-v1 inside `model` from a two-dimensional one; the other layers stay as they are.

    Args:
        model: `i3d` of any stream, `convnet_lstm`, `two_stream` or `fused`.
        path: safetensors, or a `state_dict()` in a PyTorch file, under torchvision's GoogLeNet names.

    Raises:
        InvalidInput: the network holds no Inception-v1; the file is no two-dimensional one, or damaged; tensors that
            are missing, unexpected, mis-shaped or not finite, named. The model is as it was.
    """
    state = model.state_dict()
    prefixes = [name.removesuffix(STEM_WEIGHT) for name in state if name.endswith(STEM_WEIGHT)]
    if not prefixes:
        raise InvalidInput(f"{type(model).__name__} holds no Inception-v1 to start from {path}; train it from scratch")
    file = open_tensors(path)
    theirs = {ours: name for ours, name in TORCHVISION.names.items() if not ours.startswith(HEAD)}
    _check(file, theirs, state, prefix=prefixes[0])
    # the count is of batches that the two-dimensional network saw
    wanted = {ours: name for ours, name in theirs.items() if not ours.endswith(_COUNT)}
    read = file.read(wanted.values())
    if broken := [name for name, tensor in read.items() if not torch.isfinite(tensor).all()]:
        raise InvalidInput(f"{path} holds values that are not finite in {named(broken)}")
    inflated = {
        prefix + ours: _fitted(ours, read[name], state[prefix + ours])
        for prefix in prefixes
        for ours, name in wanted.items()
    }
    model.load_state_dict(state | inflated)
    left = sum(name.startswith(_NOT_NEEDED) for name in file.shapes)
    logger.info("%s: %d tensors inflated, %d of its classifiers not used", path.name, len(inflated), left)


def inflate_kernel(kernel_OIHW: torch.Tensor, *, frames: int) -> torch.Tensor:
    """A two-dimensional kernel as one that gives the same answer for a video in which nothing moves.

    Args:
        kernel_OIHW: any floating-point type.
        frames: N, the length of the new kernel in time.

    Returns:
        [O, I, N, H, W]: the kernel divided by N, N times.
    """
    return (kernel_OIHW / frames)[:, :, None].expand(-1, -1, frames, -1, -1).contiguous()


def _fitted(ours: str, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not ours.endswith(_KERNEL):
        return tensor.to(like.dtype)
    kernel_OIHW, channels = tensor.to(like.dtype), like.shape[1]
    if channels != kernel_OIHW.shape[1]:
        kernel_OIHW = kernel_OIHW.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    return inflate_kernel(kernel_OIHW, frames=like.shape[2])


def _check(file: TensorFile, theirs: dict[str, str], state: dict[str, torch.Tensor], *, prefix: str) -> None:
    if not set(theirs.values()) & set(file.shapes):
        raise InvalidInput(
            f"{file.path} holds no two-dimensional Inception-v1 under torchvision's GoogLeNet names "
            f"(conv1.conv.weight, ...), but {', '.join(sorted(file.shapes)[:3]) or 'nothing'}; "
            f"weights of a video network go to `i3d_train run --init`"
        )
    faults = []
    for ours, name in theirs.items():
        found, expected = file.shapes.get(name), tuple(state[prefix + ours].shape)
        if ours.endswith(_KERNEL):
            inputs = _COLOURS if ours == STEM_WEIGHT else expected[1]
            expected = (expected[0], inputs, *expected[3:])
        if found is None and not ours.endswith(_COUNT):
            faults.append(f"{name} is missing")
        elif found is not None and found != expected:
            faults.append(f"{name} is {list(found)}, expected {list(expected)}{_hint(name, found)}")
    known = set(theirs.values())
    faults += [
        f"{name} is unexpected" for name in file.shapes if name not in known and not name.startswith(_NOT_NEEDED)
    ]
    if faults:
        raise InvalidInput(f"{file.path} does not fit the network: {named(faults)}")


def _hint(name: str, found: tuple[int, ...]) -> str:
    is_true_googlenet = "branch3.1" in name and found[2:] == (5, 5)
    return (
        " (5x5 as in GoogLeNet's paper: I3D has 3x3x3 there, and 5x5 does not fit into it)" if is_true_googlenet else ""
    )
