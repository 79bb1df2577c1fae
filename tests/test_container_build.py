"""docker/verify.sh: the image's steps without a container engine, which takes minutes, and what it refuses at once."""

import os
import subprocess
from pathlib import Path

import pytest

VERIFY = Path(__file__).parents[1] / "docker" / "verify.sh"


@pytest.mark.container
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    os.environ.get("VERIFY_CONTAINER") != "1", reason="takes minutes and root; VERIFY_CONTAINER=1 runs it"
)
def test_steps_of_the_image_run_and_its_user_can_work(tmp_path):
    mounts = Path("/proc/self/mounts").read_text()
    run = subprocess.run(
        ["bash", str(VERIFY)], env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\nok  sample, download, flow in a worker under Ray, verify\n" in run.stdout
    assert "\nok  serve, which answers those who know its token\n" in run.stdout
    assert list(tmp_path.iterdir()) == []
    assert Path("/proc/self/mounts").read_text() == mounts


def test_unknown_option_fails():
    run = subprocess.run(["bash", str(VERIFY), "--keep"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "unknown option --keep" in run.stderr
