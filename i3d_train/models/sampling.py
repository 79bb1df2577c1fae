"""What a network sees of a video: which frames, and how large.

Shapes: B = clips, C = channels, T = frames, H, W = pixels.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)

from preprocess.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """From a window of consecutive frames, 25 a second and 256 pixels short, to what enters the network.

    The numbers are those of the paper's Table 1 and section 2; the defaults are I3D's. Consecutive flow fields count
    as frames.
    """

    window: int = 64
    """Consecutive frames that a training clip spans."""
    test_window: int = 250
    """Consecutive frames that the paper's test spans."""
    rgb_stride: int = 1
    """Of these, every how many-th frame is seen, from the first on."""
    flow_stride: int = 1
    """Of these, every how many-th flow field is seen, from the first on."""
    flow_stack: int = 1
    """Consecutive flow fields that enter as channels of one image; a window is a multiple of it."""
    crop: int = 224
    """Pixels of the square crop."""
    shrink: int = 1
    """How many times smaller the crop enters, each pixel the mean of a square."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise InvalidInput(f"{name} must be at least 1, got {value}")
        for name in ("window", "test_window"):
            if getattr(self, name) % self.flow_stack:
                raise InvalidInput(f"{name} {getattr(self, name)} is no multiple of flow_stack {self.flow_stack}")

    def take(self, x_BCTHW: torch.Tensor, *, stream: str) -> torch.Tensor:
        """What the network sees of a window.

        Args:
            x_BCTHW: consecutive frames, or flow fields, cropped.
            stream: `rgb` or `flow`.

        Returns:
            [B, C, ceil(T / stride), H / shrink, W / shrink]. Frames after the last whole flow stack are not in it.

        Raises:
            InvalidInput: T is shorter than a flow stack.
        """
        frames = x_BCTHW.shape[2]
        used = frames - frames % self.flow_stack
        if used == 0:
            raise InvalidInput(f"a window needs at least {self.flow_stack} consecutive frames, got {frames}")
        taken = x_BCTHW[:, :, : used : self.stride(stream)]
        return taken if self.shrink == 1 else F.avg_pool3d(taken, (1, self.shrink, self.shrink))

    def stride(self, stream: str) -> int:
        """Every how many-th frame of `rgb`, or field of `flow`, is seen."""
        return {"rgb": self.rgb_stride, "flow": self.flow_stride}[stream]
