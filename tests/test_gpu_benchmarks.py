"""What went wrong in a benchmark on a GPU costs none of what else can be measured there."""

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch

from benchmarks import feed_gpu, train_gpu
from benchmarks.rows import measure
from i3d_train.config import TrainConfig


def section(*rows, then):
    yield from rows
    raise then


ONE, TWO, THREE = (("one", "1", ""), ("two", "2", ""), ("three", "3", ""))


def test_section_that_fails_costs_no_row_of_others(capsys):
    rows = []
    assert not measure({"first": section(ONE, then=RuntimeError("lost")), "second": [TWO, THREE]}, rows)
    assert rows == [ONE, ("first", "FAILED", "RuntimeError('lost')"), TWO, THREE]
    assert "RuntimeError: lost" in capsys.readouterr().err


def test_interrupt_keeps_what_was_measured():
    rows = []
    assert not measure({"first": [ONE], "second": section(TWO, then=KeyboardInterrupt()), "third": [THREE]}, rows)
    assert [row[0] for row in rows] == ["one", "two", "second"]


def test_rows_are_told_as_they_come(capsys):
    assert measure({"first": [ONE]}, [])
    assert capsys.readouterr().out == "...  one  1  \n"


def batch(*, code):
    return {
        "key": ["clip"],
        **{stream: torch.full((1, 2, 3, 4, 4), code / 127) for stream in feed_gpu.STREAMS["both"]},
    }


def test_feed_is_not_measured_where_it_is_wrong(monkeypatch):
    def loader(folder, size, threads, *, hw_decoder_load, seed):
        if hw_decoder_load == 1:
            raise RuntimeError("no such engine")
        return [batch(code=0 if hw_decoder_load else 9)]

    monkeypatch.setattr(feed_gpu, "TorchClipLoader", lambda *_, **__: [batch(code=0)])
    monkeypatch.setattr(feed_gpu, "loader_of", loader)
    hardware, rows = dict(feed_gpu.HARDWARE), []
    shards = {90: Path("90"), 95: Path("95")}
    assert not measure({"check": feed_gpu.check(shards, feed_gpu.DRY, 1, hardware)}, rows)
    assert list(hardware) == [feed_gpu.DEFAULT]
    assert [row[1] for row in rows] == ["WRONG"] * 2 + ["0.00 codes"] * 2 + ["WRONG"] * 2 + ["FAILED"]
    assert rows[-1][2] == "Wrong('not measured: no engine; engine, all')"


def test_no_clips_are_asked_for_before_a_step_is_over(monkeypatch):
    happened = []

    def clips():
        happened.append("clips")
        return {"rgb": None, "label": None}

    monkeypatch.setattr(feed_gpu, "wait", lambda _: happened.append("wait"))
    feed_gpu.seconds_a_step(clips, lambda *_: happened.append("step"), "rgb", replace(feed_gpu.DRY, steps=2))
    assert happened[-6:] == ["clips", "step", "wait"] * 2


@pytest.fixture
def bench():
    bench = object.__new__(train_gpu.Bench)
    bench.on_gpu, bench.deadline = False, float("inf")
    bench.found, bench.skipped, bench.wrong = {}, {}, {}
    return bench


def test_row_of_training_that_fails_costs_no_other(bench):
    def broken():
        raise RuntimeError("cuDNN error")

    bench.measure("bf16", broken)
    assert bench.wrong == {"bf16": "RuntimeError('cuDNN error')"}


def test_clips_of_dali_that_are_wrong_are_not_trained_on(bench, monkeypatch):
    bench.config, bench.batches = TrainConfig(shards="shards", out="run"), [batch(code=0)]
    monkeypatch.setattr(train_gpu, "Trainer", lambda config: config.loader)
    monkeypatch.setattr(train_gpu, "two_batches", {"dali": [batch(code=9)]}.get)
    right = bench.batches
    bench.attempt(train_gpu.FED, bench._take_batches_of_dali)
    assert bench.batches is right
    assert bench.wrong == {train_gpu.FED: "pixels differ from OpenCV's by up to 9.0 codes"}


def test_interrupted_training_is_reported(bench):
    def stopped():
        raise KeyboardInterrupt

    with train_gpu.interruptible(bench):
        bench.measure("bf16", stopped)
    bench.measure("fp16", stopped)
    assert bench.skipped == {"what was under way": "interrupted", "fp16": "no time left"}


def test_another_package_of_that_name_is_not_imported_instead(tmp_path):
    # without installation the folder comes first on the path, where something else may lie behind it
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    root = Path(__file__).parents[1]
    found = PathFinder.find_spec("benchmarks", [str(root), str(tmp_path)])
    assert found.submodule_search_locations == [str(root / "benchmarks")]


@pytest.mark.parametrize(
    ("module", "lacks"),
    [
        ("benchmarks.flow_gpu", {"torch", "click", "rich"}),
        ("benchmarks.feed_gpu", {"rich"}),
        ("benchmarks.train_gpu", {"click", "rich"}),
        ("tests.preprocess.flow.test_cuda_gpu", {"torch", "click", "rich"}),
        ("tests.pipelines.test_dali", {"click", "rich"}),
        ("tests.i3d_train.test_gpu", set()),
    ],
)
def test_on_a_gpu_no_more_is_needed_than_contributing_says(module, lacks):
    lacks = lacks | {"av", "fastapi", "imageio_ffmpeg", "ray", "yt_dlp"}
    code = f"import sys; sys.modules |= dict.fromkeys({sorted(lacks)}); import {module}"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
