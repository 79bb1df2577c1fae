"""Where a network runs and in which precision."""

import logging
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from preprocess.errors import EnvironmentProblem

logger = logging.getLogger(__name__)

CUDNN_WITH_GOOD_CONV3D = 91500
"""9.15: older ones have slow paths, and some wrong results, for 3-D convolutions in bf16 and fp16
(pytorch/pytorch issues 163539, 166122, 166643)."""

_REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device) -> str:
    """`bf16`, `fp16` or `fp32`; `auto` is bf16 on a GPU, or fp16 on one that cannot compute in bf16.

    Warns of bf16 on such a GPU, and of a cuDNN known to compute either badly.
    """
    on_gpu = device.type == "cuda"
    has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    precision = name
    if name == "auto":
        precision = ("bf16" if has_bf16 else "fp16") if on_gpu else "fp32"
    if precision == "bf16" and not has_bf16:
        logger.warning(
            "this GPU cannot compute in bf16, which is emulated, slowly: NVIDIA's can from compute capability 8.0 on; "
            "use --precision fp16 or fp32"
        )
    # on AMD's ROCm the version is MIOpen's
    cudnn = _cudnn_version() if on_gpu and torch.version.hip is None else None
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


@contextmanager
def enough_memory(device: torch.device, *, clips: int, remedy: str) -> Iterator[None]:
    """Say what would fit where the memory of a device is too small.

    Args:
        device: of the network.
        clips: that it is given at a time.
        remedy: options that ask for less.

    Raises:
        EnvironmentProblem: in place of PyTorch's error.
    """
    try:
        yield
    except RuntimeError as error:
        # a failed allocation has a class of its own on a GPU only
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        at_a_time = "one clip" if clips == 1 else f"{clips} clips"
        raise EnvironmentProblem(
            f"the memory of {device} is too small for {at_a_time} at a time; use {remedy}"
        ) from error


def memory_bytes(device: torch.device) -> int:
    """Most memory that this process has held so far: on its GPU, or in all on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
