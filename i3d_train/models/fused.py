"""3D-fused two-stream: frames and flow seen by an Inception-v1 each, whose maps a three-dimensional layer joins.

The form that the I3D paper makes of Feichtenhofer, Pinz and Zisserman, "Convolutional Two-Stream Network Fusion for
Video Action Recognition", CVPR 2016 (section 2.3, Table 1: 39 M parameters): five frames, ten apart, with the ten flow
fields that follow each; the maps before the last average pool go through a 3x3x3 convolution of 512 channels, a 3x3x3
max-pool and a fully connected layer. The new layers start from Gaussian noise.

Where the paper is silent:

- The two maps are concatenated, 2048 channels: adding them would make 25.6 M parameters, not 39 M.
- Convolution and pool are padded as all others (SAME). The pool has stride 2, as I3D's pools of this size.
- The fully connected layer acts on 512 features, the mean of what the pool leaves. On all positions at once it would
  have millions of weights more than Table 1 allows, and would not take the 25 frames of the paper's test.
- Dropout of one half before it, as in the released I3D.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, S = time steps.
"""

import torch
from torch import nn

from i3d_train.models.convolution import ConvUnit, MaxPoolSame, initialise, scaled
from i3d_train.models.flow_stack import STACK, STACK_CHANNELS, paired
from i3d_train.models.inception import inception, inception_features
from i3d_train.models.network import BOTH, DROPOUT, STREAM_CHANNELS, Clips, Network
from i3d_train.models.sampling import Sampling

_FUSED_CHANNELS = 512


class Fused(Network):
    """Inception-v1 on S frames and on their 10 S flow fields, joined over time; training has S = 5.

    Its logits have ceil(S / 2) steps.
    """

    streams = (BOTH,)
    min_frames = STACK
    head = "classifier"
    sampling = Sampling(window=5 * STACK, rgb_stride=STACK, flow_stack=STACK)

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__(num_classes=num_classes, stream=stream, width=width)
        channels = scaled(_FUSED_CHANNELS, width)
        self.rgb = inception(STREAM_CHANNELS["rgb"], in_time=False, width=width)
        self.flow = inception(STACK_CHANNELS, in_time=False, width=width)
        self.fusion = nn.Sequential(
            ConvUnit(2 * inception_features(width), channels, kernel=(3, 3, 3)),
            MaxPoolSame(kernel=(3, 3, 3), stride=(2, 2, 2)),
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self.classifier)

    def step_features(self, x: Clips) -> torch.Tensor:
        """Features of each time step: float [B, 512 x width, S]."""
        rgb, flow = paired(self.check_input(x, stream="rgb"), self.check_input(x, stream="flow", frames=STACK))
        joined_BFSHW: torch.Tensor = self.fusion(torch.cat([self.rgb(rgb), self.flow(flow)], dim=1))
        return joined_BFSHW.mean(dim=(3, 4))
