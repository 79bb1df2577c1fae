"""A running average of a network's weights, which generalises better than the last ones.

Source: Polyak and Juditsky, 1992; the decay that grows with the first steps is that of TensorFlow's
ExponentialMovingAverage (`num_updates`), without which the initial weights would count for thousands of steps.
"""

import copy

import torch

from i3d_train.models.network import Network


class WeightAverage:
    """Exponential moving average of parameters and BatchNorm's averages.

    Args:
        model: the network that is trained, already where it runs.
        decay: part that stays at each update, above 0 and below 1.

    Attributes:
        model: a network of its own, in evaluation mode, that holds the averages.
    """

    def __init__(self, model: Network, *, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        # the count of batches, the one whole number, takes no part in what a network answers
        self._averages, self._values = (
            [value for value in network.state_dict().values() if value.is_floating_point()]
            for network in (self.model, model)
        )

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network as it is after step `step`, counted from 1."""
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._values, 1 - keep)
