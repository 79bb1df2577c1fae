"""Tests of i3d_train.metrics."""

import json

from i3d_train.metrics import MetricsFile, smooth, smoothing_window


def test_records_are_json_lines(tmp_path):
    metrics = MetricsFile(tmp_path, step=0)
    metrics.append({"step": 1, "loss": 0.5})
    metrics.append({"step": 1, "val_loss": 0.25})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 1, "val_loss": 0.25}]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path):
    metrics = MetricsFile(tmp_path, step=0)
    for step in (1, 2, 3):
        metrics.append({"step": step, "loss": float(step)})
    resumed = MetricsFile(tmp_path, step=2)
    resumed.append({"step": 3, "loss": 30.0})
    assert MetricsFile(tmp_path, step=3).losses() == ([1, 2, 3], [1.0, 2.0, 30.0])


def test_line_torn_by_a_kill_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert MetricsFile(tmp_path, step=9).losses() == ([1], [0.5])


def test_validation_series(tmp_path):
    metrics = MetricsFile(tmp_path, step=0)
    metrics.append({"step": 1, "loss": 0.5})
    metrics.append({"step": 1, "val_loss": 0.25, "val_top1": 0.75})
    assert metrics.validation("val_top1") == ([1], [0.75])


def test_smoothing_is_a_trailing_mean():
    assert smooth([6.0, 0.0, 3.0, 3.0], window=3) == [6.0, 3.0, 3.0, 2.0]


def test_smoothing_window_grows_with_the_run():
    assert [smoothing_window(count) for count in (1, 100, 100_000)] == [1, 5, 100]
