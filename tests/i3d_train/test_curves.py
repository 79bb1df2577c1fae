"""Tests of i3d_train.curves."""

import cv2
import numpy as np
import pytest

from i3d_train.curves import draw_loss
from i3d_train.metrics import MetricsFile


@pytest.fixture
def metrics(tmp_path) -> MetricsFile:
    metrics = MetricsFile(tmp_path, step=0)
    for step in range(1, 41):
        metrics.append({"step": step, "loss": 1 / step})
    return metrics


def pixels_like(path, rgb) -> int:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB).astype(int)
    return int((np.abs(image - rgb).max(axis=2) < 20).sum())


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_training_loss_is_drawn(metrics, tmp_path):
    path = draw_loss(metrics, tmp_path, title="rgb on $_$")
    assert path.name == "loss.png"
    assert pixels_like(path, BLUE) > 300


def test_validation_is_drawn_when_there_is_one(metrics, tmp_path):
    without = pixels_like(draw_loss(metrics, tmp_path, title="run"), ORANGE)
    for step in (20, 40):
        metrics.append({"step": step, "val_loss": 0.5, "val_top1": 0.5, "val_top5": 1.0})
    assert without == 0
    assert pixels_like(draw_loss(metrics, tmp_path, title="run"), ORANGE) > 300


def test_highest_point_is_drawn_whole(tmp_path):
    def orange(training: float) -> int:
        folder = tmp_path / str(training)
        folder.mkdir()
        metrics = MetricsFile(folder, step=0)
        for step in range(1, 41):
            metrics.append({"step": step, "loss": training})
        metrics.append({"step": 2, "val_loss": 4.6, "val_top1": 0.0, "val_top5": 1.0})
        return pixels_like(draw_loss(metrics, folder, title="run"), ORANGE)

    assert orange(4.59) > 0.95 * orange(9)


def test_curve_of_many_steps_is_drawn_as_fast(tmp_path):
    metrics = MetricsFile(tmp_path, step=0)
    metrics._steps.extend(range(1, 300_001))
    metrics._losses.extend(1 / step for step in range(1, 300_001))
    assert pixels_like(draw_loss(metrics, tmp_path, title="run"), BLUE) > 300
