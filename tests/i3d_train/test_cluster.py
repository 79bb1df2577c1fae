"""Tests of i3d_train.cluster."""

import builtins
import json
import logging
import math
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from i3d_train import cluster
from i3d_train.cluster import PATIENCE_S, held_by, train_on_ray, wait_for
from i3d_train.commands.run import run
from i3d_train.events import Saved, Started, StepDone, Validated
from i3d_train.train import train
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import exclusive
from tests.crash.commands import ROOT


def never() -> bool:
    return False


@pytest.fixture
def narrow(config):
    """A network that Ray's workers know too, with updates that do not depend on who computes them."""
    return replace(config, model="i3d", width=0.1, freeze_bn=True, dropout=0.0, lr=0.01, steps=4, checkpoint_every=4)


def losses(out) -> list[float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.ray
def test_two_workers_do_what_one_does_and_one_that_is_killed_costs_time_only(narrow, tmp_path, monkeypatch, caplog):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    narrow = replace(narrow, checkpoint_every=2, tensorboard=True)
    alone = train(replace(narrow, out=tmp_path / "alone"))
    # the eighth step of both together: the fourth one of the second to come to it
    point = "i3d_train.trainer:Trainer.train_step"
    for name, value in (("AT", f"{point}:before:8"), ("WRAP", point), ("CALLS", str(tmp_path))):
        monkeypatch.setenv(f"CRASH_{name}", value)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'crash' / 'site'}:{ROOT}")
    seen = []
    with caplog.at_level(logging.WARNING):
        summary = train(replace(narrow, batch_size=2, workers=2), observe=seen.append)
    assert (summary.step, summary.finished) == (4, True)
    assert [path.name for path in summary.files] == [path.name for path in alone.files]
    assert losses(narrow.out) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert [(event.step, event.processes) for event in seen if isinstance(event, Started)] == [(0, 2), (2, 2)]
    assert {type(event) for event in seen} >= {Validated, Saved}
    # the last one of a killed worker may not have arrived
    assert [event.step for event in seen if isinstance(event, StepDone)] in ([1, 2, 3, 4], [1, 2, 3, 3, 4])
    logged = EventAccumulator(str(narrow.out / "tensorboard")).Reload()
    assert [scalar.step for scalar in logged.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [scalar.step for scalar in logged.Scalars("val/loss")] == [2, 4]
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("i3d_train")]
    assert line.startswith("lost a worker (")
    assert line.endswith("); going on from the checkpoint of step 2")
    assert not (narrow.out / ".ray").exists()


@pytest.mark.ray
def test_error_of_a_worker_is_the_error_of_the_run_fails(narrow):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    with pytest.raises(InvalidInput, match=r"crop 41 is larger than the short side of the shards"):
        train(replace(narrow, batch_size=2, workers=2, crop=41))


def test_missing_ray_train_fails(narrow, monkeypatch):
    import_as_ever = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("ray.train"):
            raise ImportError("No module named 'pandas'")
        return import_as_ever(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match=r"--workers 2: Ray Train cannot be imported .*kineflow\[ray-train\]"):
        train_on_ray(replace(narrow, workers=2), observe=print, should_stop=never)


def test_cluster_that_is_not_there_fails(narrow):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    away = replace(narrow, workers=2, address="127.0.0.1:1")
    with pytest.raises(EnvironmentProblem, match=r"cannot start or reach the Ray cluster at 127\.0\.0\.1:1"):
        train_on_ray(away, observe=print, should_stop=never)
    assert not away.out.exists()


def test_files_of_ray_are_left_to_the_run_that_holds_the_folder(narrow):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    away = replace(narrow, workers=2, address="127.0.0.1:1")
    (away.out / ".ray").mkdir(parents=True)
    left = []
    with exclusive(away.out):
        with pytest.raises(EnvironmentProblem):
            train_on_ray(away, observe=print, should_stop=never)
        left.append((away.out / ".ray").exists())
    with pytest.raises(EnvironmentProblem):
        train_on_ray(away, observe=print, should_stop=never)
    assert [*left, (away.out / ".ray").exists()] == [True, False]


@pytest.mark.parametrize(
    ("device", "gpus", "expected"), [("auto", 2, "GPU"), ("auto", 0, "CPU"), ("cuda", 2, "GPU"), ("cpu", 2, "CPU")]
)
def test_workers_get_what_their_device_is(config, device, gpus, expected):
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0, "GPU": float(gpus)} if gpus else {"CPU": 2.0})
    assert cluster._check_resources(ray, replace(config, device=device, workers=2)) == expected


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("auto", 2, r"--workers 3 need a GPU each, Ray has 2; use --workers 2 or a larger cluster, or --device cpu$"),
        ("cuda", 0, r"--workers 3 need a GPU each, Ray has 0; use a larger cluster, or --device cpu$"),
        ("cpu", 2, r"--workers 3 need a CPU each, Ray has 2; use --workers 2 or a larger cluster$"),
    ],
)
def test_more_workers_than_places_fails(config, device, gpus, message):
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0, "GPU": float(gpus)})
    with pytest.raises(EnvironmentProblem, match=message):
        cluster._check_resources(ray, replace(config, device=device, workers=3))


@pytest.mark.parametrize(("kind", "device"), [("GPU", "cuda"), ("CPU", "cpu")])
def test_workers_find_every_file_from_another_folder(config, kind, device):
    names = [field.name for field in fields(config) if "Path" in str(field.type)]
    paths = {name: Path(name) for name in names}
    for name in ("weights", "inflate"):
        # not both at once
        given = replace(config, cache_gb=1.0, **{**paths, name: None})
        absolute = cluster._absolute(given, kind)
        found = {other: getattr(absolute, other) for other in names if other != name}
        assert found == {other: Path.cwd() / other for other in found}
        assert getattr(absolute, name) is None
    assert absolute.device == device


def test_shards_at_an_address_stay_there(config):
    assert cluster._absolute(replace(config, shards="s3://bucket/shards"), "CPU").shards == "s3://bucket/shards"


def test_nothing_is_waited_for_when_nothing_is_lacking():
    assert wait_for(lambda: "", patience_s=0, stopped=never) == ""


def test_what_comes_back_is_waited_for_and_said_once(monkeypatch, caplog):
    monkeypatch.setattr(cluster, "_QUIET_S", 0)
    monkeypatch.setattr(cluster, "POLL_S", 0)
    found = iter(["no CPU", "no CPU", "no CPU", ""])
    assert wait_for(lambda: next(found), patience_s=900, stopped=never) == ""
    assert [record.getMessage() for record in caplog.records] == ["waiting up to 900 s: no CPU"]


def test_what_does_not_come_back_is_waited_for_so_long_fails(monkeypatch):
    # a clock that goes on by a second whenever it is looked at, first when the waiting begins
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=count().__next__, sleep=lambda _: None))
    asked = []
    assert wait_for(lambda: asked.append(1) or "no CPU", patience_s=3, stopped=never) == "no CPU, for 3 s now"
    assert len(asked) == 3


def test_run_that_was_asked_to_stop_once_is_to_stop():
    answers = iter([False, True, False])
    stopped = cluster._Asked(lambda: next(answers))
    assert [stopped() for _ in range(3)] == [False, True, True]


def test_run_that_is_to_stop_waits_no_longer():
    assert wait_for(lambda: "no CPU", patience_s=math.inf, stopped=lambda: True) == ""


def test_folder_is_held_as_long_as_its_process_lives(tmp_path):
    with exclusive(tmp_path):
        assert f"{tmp_path} is in use by process" in held_by(tmp_path)
    assert held_by(tmp_path) == ""


def test_help_says_how_long_a_run_waits():
    assert f"none within {PATIENCE_S / 60:g} minutes" in " ".join(run.help.split())
