"""The table of `benchmarks/train_gpu.py`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Found:
    """One row of the table."""

    clips_per_s: float
    lowest: float
    highest: float
    memory_gib: float
    """Peak of what PyTorch held in the timed steps: cuDNN's search for the fastest kernels before them takes more."""
    loss_error: float
    """Of the first step, as a part of the plain network's."""
    cosine: float
    """Between its gradient and the plain network's, over all parameters."""


def table(found: Mapping[str, Found], *, plain: Collection[str], flops: int, peak: float) -> str:
    """Markdown, a line for each row that was found.

    Args:
        found: by name.
        plain: names of those that all are compared with.
        flops: of a clip, forward and backward.
        peak: TFLOP/s.
    """
    compared = " | ".join(f"times {name}" for name in plain)
    head = (
        f"| | clips/s (range) | {compared} | of the bf16 peak | peak memory, GiB "
        "| error of the first loss | cosine of the gradients |"
    )
    lines = [head, "|" + "---|" * (6 + len(plain))]
    for name, one in found.items():
        cells = [name, f"{one.clips_per_s:.1f} ({one.lowest:.1f} to {one.highest:.1f})"]
        cells += [f"{one.clips_per_s / found[other].clips_per_s:.2f}" if other in found else "-" for other in plain]
        cells += [f"{one.clips_per_s * flops / (peak * 1e12):.1%}", f"{one.memory_gib:.1f}"]
        cells += [f"{one.loss_error:.4%}", f"{one.cosine:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
