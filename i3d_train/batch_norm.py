"""What BatchNorm normalises by: how long its averages remember, whether they move, and measuring them anew."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from i3d_train.models.network import Network
from i3d_train.process_group import ProcessGroup
from preprocess.errors import EnvironmentProblem

logger = logging.getLogger(__name__)

_SPAN = 10
_MOMENTUM_RANGE = (0.001, 0.1)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All BatchNorm layers of a network, of any number of dimensions, that keep averages."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]


def momentum_for(total_steps: int) -> float:
    """Share of the newest batch in the averages that looks back over a tenth of a run, 0.001 to 0.1.

    Example:
        >>> [momentum_for(steps) for steps in (50, 1000, 115_000)]
        [0.1, 0.01, 0.001]
    """
    low, high = _MOMENTUM_RANGE
    return min(max(_SPAN / total_steps, low), high)


def freeze(model: nn.Module) -> None:
    """Normalise by the averages and leave them; to be called again after `model.train()`."""
    for norm in batch_norms(model):
        norm.eval()


def synchronised(model: Network, *, group: ProcessGroup, device: torch.device) -> Network:
    """The network with BatchNorm over the clips of all processes; as it was where there is one process.

    Raises:
        EnvironmentProblem: several processes on the CPU, where PyTorch has none.
    """
    if group.size == 1:
        logger.info("one process: --sync-bn changes nothing")
        return model
    if device.type != "cuda":
        raise EnvironmentProblem(
            f"--sync-bn needs GPUs, this run has {group.size} processes on the {device.type}; leave it out, "
            f"or use --precise-bn 100 or --freeze-bn"
        )
    converted: Network = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


@torch.no_grad()
def measure(model: nn.Module, inputs: Iterable[object], *, group: ProcessGroup) -> None:
    """Replace BatchNorm's averages by the mean and variance over `inputs`, all taken together.

    The running averages are of activations that the weights of many steps made; these are of the present ones.
    Source: "precise BN", Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021.

    Args:
        model: in evaluation mode, which it keeps.
        inputs: what `model` takes, batches of one size, at least one.
        group: processes that measure on different inputs and end with the same averages.
    """
    sums: dict[_BatchNorm, torch.Tensor] = {}

    def add(norm: _BatchNorm, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
        (x,) = inputs
        processes = group.size if isinstance(norm, nn.SyncBatchNorm) else 1
        values = x.numel() // x.shape[1] * processes
        mean_C, var_C = (average.double() for average in _averages(norm))
        # what PyTorch keeps is n / (n - 1) times the variance of a batch's n values; the last row counts batches
        second_C = var_C * (values - 1) / values + mean_C**2
        sums[norm] = sums.get(norm, 0) + torch.stack([mean_C, second_C, torch.ones_like(mean_C)])

    with _newest_batch_only(batch_norms(model), then=add):
        for x in inputs:
            model(x)
    for norm, total_3C in sums.items():
        first_C, second_C, batches_C = group.sum(total_3C)
        first_C, second_C = first_C / batches_C, second_C / batches_C
        mean_C, var_C = _averages(norm)
        mean_C.copy_(first_C)
        # never below zero, where rounding of two large numbers would take it
        var_C.copy_((second_C - first_C**2).clamp(min=0))


@contextmanager
def _newest_batch_only(norms: list[_BatchNorm], *, then: Callable[..., None]) -> Iterator[None]:
    # only BatchNorm is put into training mode: dropout stays off, as in the network that is tested
    before = [(norm.momentum, norm.training) for norm in norms]
    hooks = [norm.register_forward_hook(then) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


def _averages(norm: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
    return norm.running_mean, norm.running_var
