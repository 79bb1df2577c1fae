"""The tests of training on a real GPU, on an emulated one: see torch_on_cpu.py."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.preprocess.flow.cuda_on_cpu import COMPILER

FOLDER = Path(__file__).parent


@pytest.mark.skipif(platform.system() != "Linux" or not shutil.which(COMPILER), reason=f"needs Linux and {COMPILER}")
@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA of its own")
def test_gpu_tests_pass_on_an_emulated_gpu():
    options = ["-p", "tests.i3d_train.torch_on_cpu", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, FOLDER / "test_gpu.py", FOLDER / "test_gpu_videos.py"],
        cwd=FOLDER.parents[1],
        env={**os.environ, "FAIL_WITHOUT_CUDA": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout
