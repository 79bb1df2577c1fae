"""ConvNet+LSTM: an Inception-v1 looks at single frames, an LSTM at what it saw, frame after frame.

The first network of the I3D paper's comparison (section 2.1, Table 1: 9 M parameters): an LSTM of 512 units with
recurrent batch normalisation after the last average pool, a fully connected layer on top. It is trained with the
cross-entropy of all time steps and tested with the answer of the last; one frame of five of a 25 Hz video is seen, 25
in training and 50 in the test.

Where the paper is silent:

- The normalisation is that of Cooijmans et al. ("Recurrent Batch Normalization", ICLR 2017, equations 6 to 8), whom the
  paper names: of input, recurrence and cell, with statistics of each time step and a scale shared by all. Steps after
  the 25 of the training, or of its shorter windows, use the statistics of the last one, as they advise.
- The scale starts at 0.1, as they advise; recurrent weights start orthogonal; the forget gate's bias starts at 1, so
  that the cell remembers until it learns what to forget. (The last two are common practice.)
- Dropout of one half before the classifier, as in the released I3D.
- It can be built for flow too, of which it sees single fields; the paper has it for colour only.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, F = features, S = frames as sampled.
"""

import torch
from torch import nn

from i3d_train.models.convolution import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, check_variance, initialise, scaled
from i3d_train.models.inception import inception, inception_features
from i3d_train.models.network import DROPOUT, STREAM_CHANNELS, Clips, Network
from i3d_train.models.sampling import Sampling

_HIDDEN = 512
_TRAINED_STEPS = 25
_FIRST_SCALE = 0.1


class StepNorm(nn.Module):
    """Batch normalisation with statistics of each time step, and one scale for all of them.

    Args:
        size: features.
        steps: with statistics of their own; later ones use those of the last.
        offset: whether there is one too, shared like the scale.
    """

    def __init__(self, size: int, *, steps: int, offset: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((size,), _FIRST_SCALE))
        self.offset = nn.Parameter(torch.zeros(size)) if offset else None
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(size, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM, affine=False) for _ in range(steps)
        )

    def forward(self, x_BF: torch.Tensor, step: int, *, is_last: bool = False) -> torch.Tensor:
        """`x_BF` normalised as time step `step`, counted from 0.

        Args:
            x_BF: float.
            step: of `x_BF`.
            is_last: whether the clips have none after it: in training later ones then get its statistics, which a test
                of longer clips needs.

        Raises:
            InvalidInput: in training, a batch of one clip, which has no variance.
        """
        norm = self.norms[min(step, len(self.norms) - 1)]
        check_variance(norm, x_BF)
        if is_last and norm.training:
            with torch.no_grad():
                for later in self.norms[step + 1 :]:
                    later(x_BF)
        scaled_BF: torch.Tensor = norm(x_BF) * self.scale
        return scaled_BF if self.offset is None else scaled_BF + self.offset


class BatchNormLSTM(nn.Module):
    """LSTM with recurrent batch normalisation.

    Args:
        inputs: features of each time step.
        hidden: units.
        steps: time steps with statistics of their own.
    """

    def __init__(self, inputs: int, hidden: int, *, steps: int) -> None:
        super().__init__()
        # rows are the gates forget, input, output and the candidate, in the order of the paper's equations
        self.input = nn.Linear(inputs, 4 * hidden, bias=False)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        self.input_norm = StepNorm(4 * hidden, steps=steps)
        self.recurrent_norm = StepNorm(4 * hidden, steps=steps)
        self.cell_norm = StepNorm(hidden, steps=steps, offset=True)
        initialise(self.input)
        nn.init.orthogonal_(self.recurrent.weight)
        with torch.no_grad():
            self.bias[:hidden].fill_(1)

    def forward(self, x_BFS: torch.Tensor) -> torch.Tensor:
        """The hidden state of every time step: float [B, hidden, S]."""
        from_input_BSG = self.input(x_BFS.transpose(1, 2))
        hidden_BF = cell_BF = from_input_BSG.new_zeros(x_BFS.shape[0], self.recurrent.in_features)
        states = []
        steps = x_BFS.shape[2]
        for step in range(steps):
            is_last = step == steps - 1
            gates_BG = (
                self.input_norm(from_input_BSG[:, step], step, is_last=is_last)
                + self.recurrent_norm(self.recurrent(hidden_BF), step, is_last=is_last)
                + self.bias
            )
            forget, enter, leave, candidate = gates_BG.chunk(4, dim=1)
            cell_BF = forget.sigmoid() * cell_BF + enter.sigmoid() * candidate.tanh()
            hidden_BF = leave.sigmoid() * self.cell_norm(cell_BF, step, is_last=is_last).tanh()
            states.append(hidden_BF)
        return torch.stack(states, dim=2)


class ConvNetLSTM(Network):
    """Inception-v1 on frames, and an LSTM over them; the answer for a clip is that of its last frame."""

    streams = ("rgb", "flow")
    min_frames = 1
    head = "classifier"
    sampling = Sampling(window=5 * _TRAINED_STEPS, rgb_stride=5, flow_stride=5)
    loss_at_every_step = True

    def __init__(self, *, num_classes: int, stream: str, width: float = 1.0) -> None:
        super().__init__(num_classes=num_classes, stream=stream, width=width)
        hidden = scaled(_HIDDEN, width)
        self.frames = inception(STREAM_CHANNELS[stream], in_time=False, width=width)
        self.lstm = BatchNormLSTM(inception_features(width), hidden, steps=_TRAINED_STEPS)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(hidden, num_classes)
        initialise(self.classifier)

    def step_features(self, x: Clips) -> torch.Tensor:
        """State of the LSTM after each frame: float [B, 512 x width, S]."""
        maps_BFSHW: torch.Tensor = self.frames(self.check_input(x, stream=self.stream))
        states: torch.Tensor = self.lstm(maps_BFSHW.mean(dim=(3, 4)))
        return states

    def clip_logits(self, logits_BKS: torch.Tensor) -> torch.Tensor:
        """Those of the last frame."""
        return logits_BKS[..., -1]
