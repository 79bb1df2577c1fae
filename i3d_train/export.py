"""A network as a program of `torch.export`, which runs without this project.

The file, `.pt2`, is a zip archive; what the program takes and gives is told by the entry `kineflow.json`:

    extra = {"kineflow.json": ""}
    program = torch.export.load("rgb.pt2", extra_files=extra).module()
    labels = json.loads(extra["kineflow.json"])["labels"]
    logits = program(clips)                                     # of both streams: program(rgb, flow)

Shapes: B = clips, C = channels, T = frames, H, W = pixels, K = classes.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from i3d_train import weights
from i3d_train.data import STREAMS_READ, check_least
from i3d_train.device import enough_memory
from i3d_train.labels import class_names
from i3d_train.models import network_class
from i3d_train.models.network import BOTH, STREAM_CHANNELS, Network
from i3d_train.options import check_at_least
from pipelines.loader import FLOW_STD, RGB_MEAN, RGB_STD
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import check_writable, publish
from preprocess.shards import ShardAttributes

FORMAT = "kineflow-export"
VERSION = 1
METADATA_NAME = "kineflow.json"

_TOLERANCE = 1e-4
"""Of the largest logit: what the logits of network and program may differ by."""
_CHECKED = (1, 3)
"""Clips of the batches on which they are compared; it is traced with another number."""
_TRACED = 2

_NORMALISATION = {
    "rgb": {"order": "red, green, blue", "zero": RGB_MEAN, "span": RGB_STD},
    "flow": {"order": "u, v", "zero": float(ShardAttributes.flow_zero), "span": FLOW_STD},
}
"""Input is (code - zero) / span, of uint8 codes as the shards have them."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to export, and for which size of input."""

    weights: Path
    """What `i3d_train.weights.load` takes: a checkpoint of a run, safetensors, or a released network."""
    out: Path
    """File to write; `.pt2`."""
    frames: int | None = None
    """Consecutive frames that the program takes; None is what the network is trained on, 64 for I3D."""
    crop: int | None = None
    """Pixels of the square crop; None is the network's own, 224 for I3D, or the short side of the frames that it was
    trained on, where that is less."""
    labels: Path | None = None
    """Class names of the weights, one a line, where they carry none."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".pt2":
            raise InvalidInput(f"{self.out} should end in .pt2, the name of exported programs")
        for name in ("frames", "crop"):
            check_at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    metadata: dict[str, Any]
    """See the file's `kineflow.json`."""
    difference: float
    """Largest difference between a logit of the network and of the program, on random clips."""
    nbytes: int
    """Of the file."""


class Program(nn.Module):
    """A network that takes consecutive frames, whatever it sees of them.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """Logits of the clips.

        Args:
            streams: float32 [B, C, T, H, W] in [-1, 1], of `both` colour and then flow.

        Returns:
            float32 [B, K], before the softmax.
        """
        network = self.network
        seen = {
            name: network.sampling.take(x_BCTHW, stream=name)
            for name, x_BCTHW in zip(STREAMS_READ[network.stream], streams, strict=True)
        }
        logits_BK: torch.Tensor = network(seen if network.stream == BOTH else seen[network.stream])
        return logits_BK


def export(config: ExportConfig) -> Exported:
    """Write a network as a program, once that is known to give the same logits.

    Args:
        config: see `ExportConfig`.

    Raises:
        InvalidInput: the weights or labels do not fit, frames or crop are too small for the network, or `out`
            is a folder.
        EnvironmentProblem: this PyTorch's program gives other logits, the memory is too small, or the disk is full.
    """
    info = weights.describe(config.weights)
    names = class_names(info.num_classes, known=info.labels, file=config.labels)
    frames, crop = config.frames or network_class(info.model).sampling.window, config.crop or info.crop
    check_least(info.model, frames=frames, crop=crop)
    check_writable(config.out)
    program = Program(weights.restore(config.weights)).eval()
    channels = {name: STREAM_CHANNELS[name] for name in STREAMS_READ[info.stream]}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "model": info.model,
        "stream": info.stream,
        "width": info.width,
        "weights": info.name,
        "labels": list(names),
        "fps": float(info.fps),
        "short_side": info.short_side,
        "frames": frames,
        "crop": crop,
        "inputs": [
            {"name": name, "shape": ["clips", count, frames, crop, crop], "dtype": "float32"} | _NORMALISATION[name]
            for name, count in channels.items()
        ],
        "output": {"name": "logits", "shape": ["clips", info.num_classes], "dtype": "float32"},
    }
    shapes = [(count, frames, crop, crop) for count in channels.values()]
    with enough_memory(torch.device("cpu"), clips=max(_CHECKED), remedy="fewer --frames, or a smaller --crop"):
        content = _traced(program, shapes, json.dumps(metadata, ensure_ascii=False, indent=1))
        difference = _compare(program, content, shapes)
    publish(config.out, content)
    return Exported(metadata=metadata, difference=difference, nbytes=len(content))


def _traced(program: Program, shapes: Sequence[tuple[int, ...]], metadata: str) -> memoryview:
    # any number of clips; frames and pixels are fixed, as the padding that follows from them is
    clips = torch.export.Dim("clips")
    example = tuple(torch.zeros(_TRACED, *shape) for shape in shapes)
    exported = torch.export.export(program, example, dynamic_shapes=(tuple({0: clips} for _ in shapes),))
    # they would be stored too, and are larger than the network
    exported.example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={METADATA_NAME: metadata})
    return buffer.getbuffer()


@torch.inference_mode()
def _compare(program: Program, content: memoryview, shapes: Sequence[tuple[int, ...]]) -> float:
    loaded = torch.export.load(io.BytesIO(content)).module()
    random = torch.Generator().manual_seed(0)
    difference = 0.0
    for clips in _CHECKED:
        x = [torch.rand(clips, *shape, generator=random) * 2 - 1 for shape in shapes]
        wanted_BK = program(*x)
        found = float((loaded(*x) - wanted_BK).abs().max())
        # nan compares as nothing, and so is refused
        if not found <= _TOLERANCE * max(float(wanted_BK.abs().max()), 1.0):
            raise EnvironmentProblem(
                f"the program that PyTorch {torch.__version__} exported gives other logits than the network, by up to "
                f"{found:g} on {clips} clips; nothing was written, use another version of PyTorch"
            )
        difference = max(difference, found)
    return difference
