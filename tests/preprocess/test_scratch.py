"""Tests of preprocess.scratch."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from preprocess.scratch import scratch_folder

ROOT = Path(__file__).parents[2]
HOLD = """
import os, signal, sys
from preprocess.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_folder_is_gone_after_the_block(tmp_path):
    with scratch_folder() as folder:
        (folder / "half").write_bytes(b"x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_goes_and_that_of_a_running_one_stays(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as other:
        theirs = Path(other.stdout.readline().strip())
        with scratch_folder():
            assert theirs.is_dir()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with scratch_folder() as ours:
        assert [path for path in tmp_path.iterdir() if path != ours] == []


def test_files_of_others_stay(tmp_path):
    (tmp_path / "kineflow-notes").mkdir()
    with scratch_folder():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kineflow-notes"]
