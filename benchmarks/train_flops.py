"""What a clip costs, and what a GPU could do at most."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from i3d_train.config import TrainConfig
from i3d_train.models import build

PEAK_TFLOPS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 835, "H200": 989, "A100": 312}
"""Dense bf16, from NVIDIA's data sheets, by words of the device's name; the first that fits."""


def flops_of_a_clip(config: TrainConfig, *, num_classes: int) -> int:
    """Operations of forward and backward for one clip, counted on a network without numbers."""
    with torch.device("meta"):
        model = build(config.model, num_classes=num_classes, stream=config.stream, width=config.width)
        x = torch.empty(1, 3 if config.stream == "rgb" else 2, config.frames, config.crop, config.crop)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    total: int = counter.get_total_flops()
    return total


def peak_tflops(name: str) -> tuple[float, str]:
    """The device's bf16 rate, and where it is from."""
    for part, peak in PEAK_TFLOPS.items():
        if all(word in name for word in part.split()):
            return peak, "data sheet"
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started) / 1e12, "a product measured here"
