"""What training lowers.

Shapes: B = clips, K = classes, T = time steps.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)


def cross_entropy(logits: torch.Tensor, label_B: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy in nats.

    Args:
        logits: [B, K], or [B, K, T] of a network that answers at each time step; then the mean is over these too.
        label_B: int64, index of the right class.
        smoothing: part of the target, 0 to below 1, that is spread over all classes.

    Returns:
        float32 scalar.
    """
    if logits.ndim == 3:
        label_B = label_B[:, None].expand(-1, logits.shape[2])
    # float32: bf16 has too few digits for the logarithm of a small probability
    return F.cross_entropy(logits.float(), label_B, label_smoothing=smoothing)
