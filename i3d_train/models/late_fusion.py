"""Late fusion: a network for colour and one for flow, trained apart, whose logits are added.

This is the paper's two-stream I3D. The paper says that predictions are averaged; the authors' released code
(evaluate_sample.py) adds the two networks' logits with equal weight, and the published joint outputs are those sums.
So sums it is. A mean of logits ranks the classes alike, and differs in the probabilities only.

Shapes: B = clips, F = features, K = classes, S = steps.
"""

import torch

from i3d_train.models.network import BOTH, Clips, Network
from preprocess.errors import InvalidInput


class LateFusion(Network):
    """Two networks of the same kind, one for each stream.

    Args:
        rgb: built for stream `rgb`; becomes the submodule of this name, into which `weights.load` may load.
        flow: built for stream `flow`, with as many classes; the same.
    """

    streams = (BOTH,)

    def __init__(self, *, rgb: Network, flow: Network) -> None:
        super().__init__(num_classes=rgb.num_classes, stream=BOTH, width=rgb.width)
        self.rgb, self.flow = rgb, flow
        self.head, self.sampling = rgb.head, rgb.sampling
        self.min_frames, self.min_side = rgb.min_frames, rgb.min_side
        self.loss_at_every_step = rgb.loss_at_every_step

    def step_features(self, x: Clips) -> torch.Tensor:
        """Features of both networks, colour first: float [B, F of both, S]."""
        return torch.cat([network.step_features(part) for network, part in self._parts(x)], dim=1)

    def classify(self, features_BFS: torch.Tensor) -> torch.Tensor:
        """Sums of both networks' logits, float [B, K, S]; with dropout in training."""
        rgb_BFS, flow_BFS = features_BFS.chunk(2, dim=1)
        return self.rgb.classify(rgb_BFS) + self.flow.classify(flow_BFS)

    def clip_logits(self, logits_BKS: torch.Tensor) -> torch.Tensor:
        """The answer for a clip, as each of the networks makes it."""
        return self.rgb.clip_logits(logits_BKS)

    def _parts(self, x: Clips) -> list[tuple[Network, torch.Tensor]]:
        rgb = self.check_input(x, stream="rgb")
        flow = self.check_input(x, stream="flow")
        if rgb.shape[0] != flow.shape[0] or rgb.shape[2] != flow.shape[2]:
            raise InvalidInput(
                f"rgb has {rgb.shape[0]} clips of {rgb.shape[2]} frames, flow {flow.shape[0]} of {flow.shape[2]}; "
                f"give both streams of the same clips and times"
            )
        return [(self.rgb, rgb), (self.flow, flow)]
