"""Fixtures of the loaders' tests."""

from pathlib import Path

import pytest

from tests.pipelines.tiny_shards import SIZES, flat_clip, textured_clip, write_set


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train: 11 textured clips of all sizes in 2 shards; val: 5; test: flat clips of 20, 7 and 40 frames."""
    train = [textured_clip(f"train{n:02d}", label=n % 3, frames=5 + 3 * (n % 4), size=SIZES[n % 5]) for n in range(11)]
    val = [textured_clip(f"val{n}", label=n % 3, frames=6 + 5 * n, size=SIZES[n]) for n in range(5)]
    test = [flat_clip(f"flat{n}", label=n, frames=frames) for n, frames in enumerate((20, 7, 40))]
    folder = tmp_path_factory.mktemp("shards")
    return write_set(folder, {"train": [train[:6], train[6:]], "val": [val], "test": [test]})
