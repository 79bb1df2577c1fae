"""Two-stream networks: one frame, and the ten flow fields that follow it, each seen by an Inception-v1.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS 2014, in the form
that the I3D paper compares with (section 2.3, Table 1: 12 M parameters).

Where the paper is silent:

- The frame is the one at which the ten flow fields begin, as in equation 1 of Simonyan and Zisserman.
- "Averages the predictions" is the mean of the two streams' logits, through which the gradient reaches both ("end to
  end, including the averaging"). A mean of probabilities would pass hardly any gradient to a stream that is wrong while
  the other one is sure, and its result is no logit.
- Dropout of one half before the classifiers, as in the released I3D.
- Either stream can be had alone, for the single-stream columns of Table 2.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, K = classes, S = frames with their flow.
"""

import torch
from torch import nn

from i3d_train.models.convolution import initialise
from i3d_train.models.flow_stack import STACK, STACK_CHANNELS, paired, stacked
from i3d_train.models.inception import inception, inception_features
from i3d_train.models.network import BOTH, DROPOUT, STREAM_CHANNELS, Clips, Network
from i3d_train.models.sampling import Sampling

_CHANNELS = {"rgb": STREAM_CHANNELS["rgb"], "flow": STACK_CHANNELS}


class TwoStream(Network):
    """Inception-v1 on single frames, on stacks of flow fields, or on both.

    For `rgb` the input is S frames, for `flow` 10 S fields, for `both` those together. Training has S = 1, the paper's
    test S = 25, whose answers are averaged.
    """

    streams = ("rgb", "flow", BOTH)
    min_frames = STACK
    head = "classifier"
    sampling = Sampling(window=STACK, rgb_stride=STACK, flow_stack=STACK)

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__(num_classes=num_classes, stream=stream, width=width)
        self._sees = tuple(_CHANNELS) if stream == BOTH else (stream,)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.ModuleDict()
        for one in self._sees:
            self.add_module(one, inception(_CHANNELS[one], in_time=False, width=width))
            self.classifier[one] = linear = nn.Linear(inception_features(width), num_classes)
            initialise(linear)

    def step_features(self, x: Clips) -> torch.Tensor:
        """Features of each frame and its flow, colour first: float [B, 1024 x width x streams, S]."""
        images = [self.get_submodule(one)(image).mean(dim=(3, 4)) for one, image in self._images(x).items()]
        return torch.cat(images, dim=1)

    def classify(self, features_BFS: torch.Tensor) -> torch.Tensor:
        """Mean of the streams' logits, float [B, K, S]; with dropout in training."""
        parts = self.dropout(features_BFS).transpose(1, 2).chunk(len(self._sees), dim=2)
        logits = [self.classifier[one](part_BSF) for one, part_BSF in zip(self._sees, parts, strict=True)]
        return torch.stack(logits).mean(dim=0).transpose(1, 2)

    def _images(self, x: Clips) -> dict[str, torch.Tensor]:
        if self.stream == "rgb":
            return {"rgb": self.check_input(x, stream="rgb")}
        flow = self.check_input(x, stream="flow", frames=STACK)
        if self.stream == "flow":
            return {"flow": stacked(flow)}
        return dict(zip(self._sees, paired(self.check_input(x, stream="rgb"), flow), strict=True))
