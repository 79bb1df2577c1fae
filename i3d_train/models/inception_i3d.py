"""I3D: Inception-v1 with every kernel inflated to three dimensions.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017;
sizes and names as in the authors' released network (google-deepmind/kinetics-i3d, i3d.py), whose weights fit.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, K = classes, S = time steps.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)
from torch import nn

from i3d_train.models.convolution import initialise
from i3d_train.models.inception import LAYERS, inception, inception_features
from i3d_train.models.network import DROPOUT, STREAM_CHANNELS, Clips, Network


class InceptionI3D(Network):
    """I3D for one stream; `late_fusion` has the paper's two-stream form.

    Of 64 frames it makes 7 time steps, of 250 it makes 31: ceil(ceil(ceil(T / 2) / 2) / 2) - 1. The answer for a clip
    is the mean of their logits, as in the released network.
    """

    streams = ("rgb", "flow")
    # three halvings must leave the two time steps that the last pool spans: 9 -> 5 -> 3 -> 2
    min_frames = 9
    head = "Logits"

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__(num_classes=num_classes, stream=stream, width=width)
        for name, layer in inception(STREAM_CHANNELS[stream], in_time=True, width=width).named_children():
            self.add_module(name, layer)
        self.dropout = nn.Dropout(DROPOUT)
        logits = nn.Conv3d(inception_features(width), num_classes, kernel_size=1)
        initialise(logits)
        self.add_module("Logits", nn.Sequential(OrderedDict(Conv3d_0c_1x1=logits)))

    def end_points(self, x: Clips) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and output of each layer before the average pool, in order.

        Raises:
            InvalidInput: wrong number of channels or too few frames.
        """
        y_BCTHW = self.check_input(x, stream=self.stream, frames=self.min_frames)
        for name in LAYERS:
            y_BCTHW = self.get_submodule(name)(y_BCTHW)
            yield name, y_BCTHW

    def step_features(self, x: Clips) -> torch.Tensor:
        """Features of each time step: float [B, 1024 x width, S].

        Frames of 224 pixels leave a map of 7x7, averaged to one position. Of a smaller map all is averaged; on a
        larger one the 7x7 window slides, and the mean of its positions is taken.
        """
        for _, y_BCTHW in self.end_points(x):
            last_BCTHW = y_BCTHW
        window = (2, min(7, last_BCTHW.shape[3]), min(7, last_BCTHW.shape[4]))
        return F.avg_pool3d(last_BCTHW, window, stride=1).mean(dim=(3, 4))

    def classify(self, features_BFS: torch.Tensor) -> torch.Tensor:
        """Logits of features, float [B, K, S]; with dropout in training."""
        logits: torch.Tensor = self.get_submodule("Logits")(self.dropout(features_BFS)[..., None, None])
        return logits.flatten(2)
