"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests without CUDA, unless FAIL_WITHOUT_CUDA is set: a GPU job must not pass by skipping."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items or os.environ.get("FAIL_WITHOUT_CUDA"):
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device (FAIL_WITHOUT_CUDA=1 makes this a failure)"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips, kept beside the project and never inside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real clips at {SHARED_DATA}")
    return SHARED_DATA
