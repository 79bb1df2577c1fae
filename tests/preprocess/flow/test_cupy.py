"""The tests of a real GPU, and some more, by CuPy on an emulated one: see cupy_on_cpu.py."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.preprocess.flow.cuda_on_cpu import COMPILER

FOLDER = Path(__file__).parent
CHOSEN = "cpu_engine or device or codes or another_stream or memory_than or memory_that or gpu_that"
"""Tests that take seconds there, and need no arithmetic of CuPy."""


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="code of x86-64 on Linux")
@pytest.mark.skipif(not importlib.util.find_spec("cupy"), reason="CuPy is not installed")
@pytest.mark.skipif(not (shutil.which(COMPILER) and shutil.which("nm")), reason=f"no {COMPILER} and nm")
@pytest.mark.timeout(600)  # on a machine with much else to do
def test_gpu_tests_pass_on_an_emulated_gpu(tmp_path):
    files = [FOLDER / "test_cuda_gpu.py", FOLDER / "on_emulated_gpu.py"]
    options = ["-p", "tests.preprocess.flow.cupy_on_cpu", "-p", "no:cacheprovider", "-q", "-s", "-k", CHOSEN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=FOLDER.parents[2],
        env={**os.environ, "FAIL_WITHOUT_CUDA": "1", "CUPY_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"^12 passed, \d+ deselected", done.stdout, re.MULTILINE), done.stdout
