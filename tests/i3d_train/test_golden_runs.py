"""Tests of i3d_train.train against losses that are kept as text, see `tests.i3d_train.golden_runs`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.i3d_train.golden_runs import FOLDER, RUNS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    command = [sys.executable, "-m", "tests.i3d_train.golden_runs", str(folder)]
    # the number of threads is not left to the caller's environment
    environment = os.environ | {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}
    # seconds of work; the limit is for machines with much else to do
    subprocess.run(command, cwd=ROOT, check=True, env=environment, timeout=600)
    return folder


def losses(text: str) -> list[float]:
    return [float(line.split()[-1]) for line in text.splitlines()[1:]]


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_the_golden_file(name, made):
    found, expected = ((folder / f"{name}.txt").read_text() for folder in (made, FOLDER))
    if found.splitlines()[0] == expected.splitlines()[0]:
        assert found == expected
    else:
        # another version of PyTorch, or processor family, may add up in another order
        assert losses(found) == pytest.approx(losses(expected), abs=1e-3)


def test_no_golden_file_is_left_over():
    assert {path.stem for path in FOLDER.iterdir()} == set(RUNS)
