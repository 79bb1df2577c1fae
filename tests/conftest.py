"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.warm import Warm

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


CHROMIUM = Path("/usr/bin/chromium")
"""Debian's; the browsers that Playwright itself would fetch are not needed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need what is not here, unless they must not be: a GPU job must not pass by skipping."""
    gpu_items = _needing("gpu", items, forced_by="FAIL_WITHOUT_CUDA")
    if gpu_items:
        import torch

        if not torch.cuda.is_available():
            _skip(gpu_items, "no CUDA device (FAIL_WITHOUT_CUDA=1 makes this a failure)")
    if not CHROMIUM.exists():
        browser_items = _needing("browser", items, forced_by="FAIL_WITHOUT_CHROMIUM")
        _skip(browser_items, f"no {CHROMIUM} (FAIL_WITHOUT_CHROMIUM=1 makes this a failure)")


def _needing(marker: str, items: list[pytest.Item], *, forced_by: str) -> list[pytest.Item]:
    if os.environ.get(forced_by):
        return []
    return [item for item in items if item.get_closest_marker(marker)]


def _skip(items: list[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What starts a command in no time."""
    made = Warm()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips, kept beside the project and never inside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real clips at {SHARED_DATA}")
    return SHARED_DATA
