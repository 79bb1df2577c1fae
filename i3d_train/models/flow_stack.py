"""Flow fields that enter a two-dimensional network together, as the channels of one image.

Shapes: B = clips, T = flow fields, S = stacks, H, W = pixels.
"""

import torch

from i3d_train.models.network import STREAM_CHANNELS
from preprocess.errors import InvalidInput

STACK = 10
"""Flow fields of one image: the L of Simonyan and Zisserman, which the I3D paper keeps."""
STACK_CHANNELS = STACK * STREAM_CHANNELS["flow"]


def stacked(flow_BCTHW: torch.Tensor) -> torch.Tensor:
    """Every ten consecutive flow fields as one image of twenty channels.

    Args:
        flow_BCTHW: [B, 2, 10 S, H, W].

    Returns:
        [B, 20, S, H, W], channels u and v of the first field, u and v of the second, and so on.

    Raises:
        InvalidInput: T is not a multiple of ten.

    Source: Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS 2014,
    equation 1.
    """
    clips, channels, fields, height, width = flow_BCTHW.shape
    if fields == 0 or fields % STACK:
        raise InvalidInput(f"flow must come in stacks of {STACK} consecutive fields, got T = {fields}")
    stacks = fields // STACK
    stacks_BCSLHW = flow_BCTHW.reshape(clips, channels, stacks, STACK, height, width)
    return stacks_BCSLHW.permute(0, 3, 1, 2, 4, 5).reshape(clips, STACK * channels, stacks, height, width)


def paired(rgb_BCTHW: torch.Tensor, flow_BCTHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames, and for each the stack of flow fields that begins at it.

    Raises:
        InvalidInput: they are not as many, or of other clips or sizes.
    """
    stacks_BCSHW = stacked(flow_BCTHW)
    if rgb_BCTHW.shape[0] != stacks_BCSHW.shape[0] or rgb_BCTHW.shape[2:] != stacks_BCSHW.shape[2:]:
        raise InvalidInput(
            f"rgb {tuple(rgb_BCTHW.shape)} does not fit flow {tuple(flow_BCTHW.shape)}; give one frame for every "
            f"{STACK} consecutive flow fields, of the same clips and size"
        )
    return rgb_BCTHW, stacks_BCSHW
