"""How weights and clips lie in memory: channels outermost, as PyTorch has it, or innermost, as tensor cores want it."""

import torch
from torch import nn

_INNERMOST = {4: torch.channels_last, 5: torch.channels_last_3d}


def arrange(model: nn.Module, *, channels_last: bool) -> torch.memory_format:
    """Lay out a network's convolutions; returns the layout for its clips.

    Args:
        model: convolutions of two or three dimensions keep their values and change their strides.
        channels_last: otherwise nothing is done.
    """
    if not channels_last:
        return torch.contiguous_format
    for parameter in model.parameters():
        if parameter.ndim in _INNERMOST:
            parameter.data = parameter.data.contiguous(memory_format=_INNERMOST[parameter.ndim])
    return torch.channels_last_3d
