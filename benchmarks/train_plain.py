"""What `train_gpu.py` and `train_cpu.py` compare with: the same network and step as one writes them first."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from i3d_train.config import TrainConfig
from i3d_train.models import build
from pipelines import Batch


class MemoryFeed:
    """Stands in for `i3d_train.feed.Feed`: the same few batches for ever, without decoding.

    Args:
        batches: one is a step.
    """

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = cycle(batches)

    def next_step(self) -> list[Batch]:
        """The one batch of the next step."""
        return [next(self._batches)]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A network and its training step."""

    model: nn.Module
    first: Callable[[], float]
    """The first step, on the first of the clips; returns the loss."""
    step: Callable[[], object]
    """Any further one."""


def plain_loop(config: TrainConfig, batches: list[Batch], *, num_classes: int, tf32: bool) -> Loop:
    """Network and step in fp32, in PyTorch's layout; `tf32` is whether convolutions may round to that."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = tf32
    # the weights that a trainer starts from
    torch.manual_seed(config.seed)
    model = build(config.model, num_classes=num_classes, stream=config.stream, width=config.width)
    model.to(config.device).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-7)
    feed = MemoryFeed(batches)

    def step() -> float:
        (batch,) = feed.next_step()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[config.stream]), batch["label"])
        loss.backward()
        optimizer.step()
        return loss.item()

    return Loop(model=model, first=step, step=step)
