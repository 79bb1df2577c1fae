"""Tests of i3d_train.cluster."""

import builtins
import json
from dataclasses import replace

import pytest

from i3d_train.cluster import train_on_ray
from i3d_train.events import Saved, Started, StepDone, Validated
from i3d_train.train import train
from preprocess.errors import EnvironmentProblem, InvalidInput


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
def test_two_workers_do_what_one_process_does_and_tell_of_it(narrow, tmp_path):
    pytest.importorskip("ray.train", reason="Ray Train is not installed")
    alone = train(replace(narrow, out=tmp_path / "alone"))
    seen = []
    summary = train(replace(narrow, batch_size=2, workers=2), observe=seen.append)
    assert losses(narrow.out) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert (summary.step, summary.finished) == (4, True)
    assert [path.name for path in summary.files] == [path.name for path in alone.files]
    assert [event.step for event in seen if isinstance(event, StepDone)] == [1, 2, 3, 4]
    assert [event.processes for event in seen if isinstance(event, Started)] == [2]
    assert {type(event) for event in seen} >= {Validated, Saved}
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
