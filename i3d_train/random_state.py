"""PyTorch's random numbers, which dropout and first weights are made of: keeping them, and going on with them.

Order and augmentation of clips draw from generators of their own, see `pipelines.sampling`.
"""

import logging

import torch

from i3d_train.process_group import ProcessGroup

logger = logging.getLogger(__name__)

RandomState = dict[str, torch.Tensor]
"""Generator states of one process by device type."""


def random_state(device: torch.device) -> RandomState:
    """Where the generators of this process are."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(states: list[RandomState], *, group: ProcessGroup, device: torch.device, seed: int) -> None:
    """Go on with the numbers that a run would have drawn.

    Args:
        states: of all its processes, by rank.
        group: the processes now; where they are not as many, each is seeded anew.
        device: of the network.
        seed: for that case.
    """
    if len(states) != group.size:
        logger.warning(
            "the run to resume had %d processes, now they are %d: dropout draws other numbers than it would have",
            len(states),
            group.size,
        )
        torch.manual_seed(seed + group.rank)
        return
    mine = states[group.rank]
    torch.set_rng_state(mine["cpu"])
    if device.type == "cuda" and "cuda" in mine:
        torch.cuda.set_rng_state(mine["cuda"])
