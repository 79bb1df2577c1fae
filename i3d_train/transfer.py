"""Carrying over what a network learnt to another data set, in the three ways of the I3D paper (section 5, Table 4).

original    nothing is carried over: trained on the new data set alone
fixed       the network gives features, and only its last layer is trained
full        all of it is trained on
"""

from typing import Any

from i3d_train.models.network import Network


def fix(network: Network) -> None:
    """Train the last layer alone."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(network.is_head(name))


def training_mode(network: Network) -> None:
    """`network.train()`, except for what `fix` has fixed; to be called again after each `network.eval()`.

    Fixed parts give the same features as in the test: BatchNorm normalises by its averages and leaves them, and
    nothing is dropped. What the last layer gets is dropped as ever.
    """
    network.train()
    if not is_fixed(network):
        return
    for name, module in network.named_modules():
        if not _trains(network, name):
            # not train(False), which would reach the parts below that do train
            module.training = False


def is_fixed(network: Network) -> bool:
    """Whether only the last layer trains."""
    return not any(
        parameter.requires_grad for name, parameter in network.named_parameters() if not network.is_head(name)
    )


def trained_parameters(network: Network, *, weight_decay: float) -> list[dict[str, Any]]:
    """What an optimiser should get: groups of parameters, each with its `weight_decay`.

    Only kernels and matrices decay, not biases and not BatchNorm's scales and offsets.

    Source: SlowFast, `BN.WEIGHT_DECAY: 0.0` of configs/Kinetics/I3D_8x8_R50.yaml; He et al., "Bag of Tricks for Image
    Classification with Convolutional Neural Networks", CVPR 2019, section 3.1, "no bias decay".
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim == 1], "weight_decay": 0.0},
    ]


def _trains(network: Network, name: str) -> bool:
    # the dropout before the last layer has this name in all networks, see `Network`
    return name == "" or network.is_head(name) or name.rpartition(".")[2] == "dropout"
