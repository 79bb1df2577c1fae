"""The loss curve of a run as a picture."""

import io
from pathlib import Path

from i3d_train.metrics import MetricsFile, smooth, smoothing_window
from preprocess.paths import publish

CURVE_NAME = "loss.png"

_POINTS = 2000
"""More than the picture has columns; a run may have millions of steps."""


def draw_loss(metrics: MetricsFile, folder: Path, *, title: str) -> Path:
    """Draw `folder/loss.png`: training loss, raw and smoothed, and each validation's loss and accuracy.

    Args:
        metrics: of the run, with at least one step.
        folder: of the run.
        title: above the picture.

    Returns:
        The picture's path.
    """
    # here, since most processes of a run draw nothing; without pyplot: it keeps global state and may look for a screen
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps, losses = metrics.losses()
    window, every = smoothing_window(len(losses)), -(-len(losses) // _POINTS)
    label = "training, each step" if every == 1 else f"training, each {every}th step"
    axes.plot(steps[::every], losses[::every], color="tab:blue", alpha=0.25, linewidth=1, label=label)
    smoothed = smooth(losses, window=window)
    axes.plot(steps[::every], smoothed[::every], color="tab:blue", label=f"training, mean of {window} steps")
    val_steps, val_losses = metrics.validation("val_loss")
    if val_steps:
        axes.plot(val_steps, val_losses, "o-", color="tab:orange", label="validation")
        accuracy = axes.twinx()
        accuracy.plot(*metrics.validation("val_top1"), "s--", color="tab:green", label="validation top-1")
        accuracy.set_ylim(0, 1)
        accuracy.set_ylabel("top-1 accuracy")
        accuracy.legend(loc="lower left")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy, nats")
    # 0 counts as a point: the margin above is a share of the whole height then, and no marker is cut
    axes.update_datalim([(0, 0)], updatex=False)
    axes.autoscale_view(scalex=False)
    axes.set_ylim(bottom=0)
    axes.set_title(title, parse_math=False)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path = folder / CURVE_NAME
    publish(path, buffer.getbuffer())
    return path
