"""The short form of `benchmarks/learn.py`: motion is learnt from flow, and is not in a single frame.

Most of its time, less than a minute on an idle core, goes into making the shards. Seeds are fixed and everything
computes in one thread, so a machine repeats its result; the limits leave room for what another processor rounds
otherwise.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.learn import CLASSES, COMMON, TRIALS, Found, Trial, page, run
from i3d_train.metrics import MetricsFile
from preprocess.cli import main as preprocess
from preprocess.sample import SampleConfig, make_sample

SHORT = {"frames": 10, "batch_size": 16, "lr": 0.05, "steps": 50, "validate_every": 0, "loader": "torch"}
SCENES = {"videos_per_class": 5, "val_per_class": 3}
# one second of film for each clip, all of which is wanted
SHORT_FILMS = {"width": 64, "height": 48, "duration_s": 1, "clip_start_s": 0, "clip_end_s": 1}


@pytest.fixture(scope="module")
def motions(tmp_path_factory) -> Path:
    """Shards of 40 clips to train on and 24 of other scenes to validate, made by the commands."""
    folder = tmp_path_factory.mktemp("motions")
    sample = make_sample(folder / "sample", config=SampleConfig(**SCENES, **SHORT_FILMS))
    source = ["--source", "directory", "--source-dir", str(sample.videos_folder)]
    for command in (
        ["download", str(sample.list_path), "--out", str(folder / "clips"), *source, "--workers", "0"],
        ["flow", str(folder / "clips"), "--out", str(folder / "shards"), "--short-side", "48", "--cpus", "0"],
    ):
        result = CliRunner().invoke(preprocess, command)
        assert result.exit_code == 0, result.output
    return folder / "shards"


def short(name: str) -> Trial:
    """A trial of the benchmark at the size of this file."""
    trial = TRIALS[name]
    return replace(trial, settings=trial.settings | SHORT)


@pytest.mark.timeout(900)  # on a machine with much else to do
def test_i3d_learns_motion_from_flow(motions, tmp_path):
    found = run(short("I3D on flow"), shards=motions, out=tmp_path / "run", threads=1)
    assert found.clips == SCENES["val_per_class"] * CLASSES
    assert found.top1 >= 0.6


@pytest.mark.timeout(900)
def test_one_frame_does_not_tell_the_motion(motions, tmp_path):
    found = run(short("Inception-v1 on one frame"), shards=motions, out=tmp_path / "run", threads=1)
    # guessing has 1 in 8, and more than 9 of 24 once in 2900 times
    assert found.top1 <= 0.375


def test_nothing_is_mirrored():
    assert COMMON["flip"] is False
    assert not any("flip" in trial.settings for trial in TRIALS.values())


def result(tmp_path: Path, *, right: int, cpu_s: float = 100.0) -> Found:
    metrics = MetricsFile(tmp_path, step=0)
    return Found(clips=128, right=right, training_loss=0.5, wall_s=120.0, cpu_s=cpu_s, metrics=metrics)


def test_interval_is_wilsons(tmp_path):
    # 16 of 128, by R's prop.test(16, 128, correct = FALSE)
    assert result(tmp_path, right=16).interval == pytest.approx((0.0784, 0.1934), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "right", "cpu_s", "reached"),
    [
        ("I3D on flow", 122, 599.0, True),
        ("I3D on flow", 121, 599.0, False),
        ("I3D on flow", 128, 601.0, False),
        ("I3D on RGB", 90, 599.0, True),
        ("I3D on RGB", 89, 599.0, False),
        ("Inception-v1 on one frame", 20, 100.0, True),
        ("Inception-v1 on one frame", 26, 100.0, False),
        ("Inception-v1 on ten flow fields", 64, 100.0, False),
        ("Inception-v1 on ten flow fields", 100, 100.0, True),
    ],
)
def test_page_says_whether_a_goal_is_reached(tmp_path, name, right, cpu_s, reached):
    found = {name: result(tmp_path, right=right, cpu_s=cpu_s)}
    (row,) = (line for line in page(found, picture="p.png", intro=[]).splitlines() if line.startswith(f"| {name} "))
    assert f"({right} of 128)" in row
    assert ("| yes |" in row, "| **no** |" in row) == (reached, not reached)
