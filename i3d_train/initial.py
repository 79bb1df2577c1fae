"""The network that a run starts with."""

import logging
from pathlib import Path

from torch import nn

from i3d_train import batch_norm, checkpoint, inflate, transfer, weights
from i3d_train.config import TrainConfig
from i3d_train.models import build
from i3d_train.models.network import Network
from preprocess.errors import InvalidInput

logger = logging.getLogger(__name__)


def initial_network(config: TrainConfig, *, labels: tuple[str, ...], steps: int) -> Network:
    """Build the network of a run and give it its first weights.

    Args:
        config: what its network is, what it starts from, and its `dropout` and `bn_momentum`.
        labels: class names in the order of the logits.
        steps: length of the run.

    Raises:
        InvalidInput: the weights are of another network or stream, or damaged.
    """
    model = build(config.model, num_classes=len(labels), stream=config.stream, width=config.width)
    momentum = batch_norm.momentum_for(steps) if config.bn_momentum is None else config.bn_momentum
    for norm in batch_norm.batch_norms(model):
        norm.momentum = momentum
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
    if config.inflate is not None:
        inflate.load(model, config.inflate)
    if config.weights is not None:
        _carry_over(model, config.weights, config, labels=labels)
    if config.transfer == "fixed":
        transfer.fix(model)
    return model


def _carry_over(model: Network, path: Path, config: TrainConfig, *, labels: tuple[str, ...]) -> None:
    info = weights.describe(checkpoint.best_path(path) if path.is_dir() else path)
    if info.model != config.model:
        raise InvalidInput(f"{info.path} holds weights of {info.model}, not of {config.model}")
    same_classes = info.num_classes == len(labels) and info.labels in ((), labels)
    weights.load(model, info.path, head=same_classes and config.transfer is None)
    if not same_classes and config.transfer is None:
        logger.warning(
            "the classifier starts anew: %s has %d classes, the shards have %d, or other ones",
            info.path.name,
            info.num_classes,
            len(labels),
        )
