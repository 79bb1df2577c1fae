"""Where tensors live, from what a caller types."""

import torch

from preprocess.errors import EnvironmentProblem, InvalidInput


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that `device` means on this machine.

    Args:
        device: `auto` (a GPU if there is one, otherwise the CPU), `cpu`, `cuda` (the current one), `cuda:N`.

    Returns:
        A device; a GPU always with its index.

    Raises:
        InvalidInput: not one of these.
        EnvironmentProblem: no such GPU, or none that this build of torch can use.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N") from error
    if found.type not in {"cpu", "cuda"}:
        raise InvalidInput(f"device {device!r} is not supported; use auto, cpu, cuda or cuda:N")
    if found.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise EnvironmentProblem(
            f"device {str(device)!r} needs an NVIDIA GPU, its driver and a CUDA build of torch: see nvidia-smi, or use "
            f"--device cpu (in Python device='cpu')"
        )
    index = torch.cuda.current_device() if found.index is None else found.index
    if index >= count:
        raise EnvironmentProblem(f"device {str(device)!r}: this machine has GPUs 0 to {count - 1}")
    return torch.device("cuda", index)
