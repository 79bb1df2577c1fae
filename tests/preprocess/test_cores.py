"""Tests of preprocess.cores."""

import subprocess
import sys

import pytest

from preprocess.cores import cores


@pytest.fixture(autouse=True)
def quota(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr("preprocess.cores._QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),
        ("10000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("200000\n", 8),
    ],
)
def test_cores_are_what_a_container_may_fill(quota, text, count):
    if text is not None:
        quota.write_text(text)
    assert cores() == count


def test_cores_are_those_that_were_given():
    script = (
        "import os; from preprocess.cores import cores; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "print(cores())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("1\n", "")
