"""Where a network runs and in which precision."""

import logging
import resource
from contextlib import AbstractContextManager, nullcontext

import torch

from preprocess.errors import EnvironmentProblem

logger = logging.getLogger(__name__)

CUDNN_WITH_GOOD_CONV3D = 91500
"""9.15: older ones have slow paths, and some wrong results, for 3-D convolutions in bf16 and fp16
(pytorch/pytorch issues 163539, 166122, 166643)."""

_REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device called `auto`, `cpu` or `cuda`.

    Raises:
        EnvironmentProblem: `cuda` without a usable GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise EnvironmentProblem(
            "device cuda was asked for and PyTorch sees no GPU; check nvidia-smi, or use --device cpu"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """`bf16`, `fp16` or `fp32`; `auto` is bf16 on a GPU. Warns of a cuDNN known to compute the first two badly."""
    precision = ("bf16" if device.type == "cuda" else "fp32") if name == "auto" else name
    # on AMD's ROCm the version is MIOpen's
    cudnn = _cudnn_version() if device.type == "cuda" and torch.version.hip is None else None
    if precision in _REDUCED and cudnn is not None and cudnn < CUDNN_WITH_GOOD_CONV3D:
        logger.warning(
            "cuDNN %d.%d is older than 9.15: 3-D convolutions in %s may be slow or wrong; "
            "pip install -U 'nvidia-cudnn-cu%s>=9.15', or use --precision fp32",
            cudnn // 10_000,
            cudnn // 100 % 100,
            precision,
            (torch.version.cuda or "13").partition(".")[0],
        )
    return precision


def _cudnn_version() -> int | None:
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return version


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context in which the network computes in `precision`."""
    return torch.autocast(device.type, _REDUCED[precision]) if precision in _REDUCED else nullcontext()


def memory_bytes(device: torch.device) -> int:
    """Most memory that this process has held so far: on its GPU, or in all on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
