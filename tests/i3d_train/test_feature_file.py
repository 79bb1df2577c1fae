"""A disk without room: what is told, and what stays. `test_features.py` has the contents."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from i3d_train.feature_file import ClipFeatures, writing

CLIPS = 40
SIZE = 1024


def write(path):
    with writing(path, {}) as file:
        for number in range(CLIPS):
            steps = np.full((7, SIZE), number, np.float32)
            times = np.arange(7, dtype=np.float64)
            file.add(
                ClipFeatures(key=f"{number}", label=0, frames=64, clip=steps.mean(axis=0), steps=steps, times=times)
            )


def in_a_process(path, room):
    def with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-c", f"from {__name__} import *; write(Path(sys.argv[1]))", path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        preexec_fn=with_little_room,
        timeout=120,
    )


@pytest.mark.parametrize("room", [0, 500, 5_000, 300_000, 1_040_000, 1_100_000, "a byte too little"])
@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_full_disk_is_told_and_nothing_is_left(room, ending, tmp_path):
    path = tmp_path / f"features.{ending}"
    write(path)
    room = path.stat().st_size - 1 if isinstance(room, str) else room
    path.write_bytes(b"old")
    ended = in_a_process(path, room)
    assert ended.returncode == 1, ended  # not by a signal: HDF5 takes the interpreter down where it cannot close a file
    assert ended.stderr.splitlines()[-1].startswith("preprocess.errors.EnvironmentProblem: cannot write ")
    assert "Exception ignored" not in ended.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_just_enough_room(tmp_path):
    path = tmp_path / "features.h5"
    write(path)
    room = path.stat().st_size
    path.unlink()
    assert in_a_process(path, room).returncode == 0
    with h5py.File(path) as file:
        assert file["step/feature"].shape == (7 * CLIPS, SIZE)
        np.testing.assert_array_equal(file["clip/feature"][:, 0], np.arange(CLIPS))


def test_a_full_disk_is_an_error_of_writing_not_a_signal():
    """What `in_a_process` leans on: Python ignores SIGXFSZ."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
