"""Fixtures of the training package's tests."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from i3d_train.config import TrainConfig
from i3d_train.models import MODELS
from tests.i3d_train.small_shards import TinyNetwork, noisy_clips, small_run, write_set


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """Seeds do not leak between tests. One thread: on a busy machine the second one mostly waits."""
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_rng_state(state)
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def tiny() -> Iterator[str]:
    """Name of a small network, registered as any other."""
    module = ModuleType("i3d_train.models.tiny_network")
    module.TinyNetwork = TinyNetwork  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(MODELS, "tiny", "tiny_network.TinyNetwork")
        yield "tiny"


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dark and light clips to train on, three to validate."""
    splits = {
        "train": noisy_clips("train", [0, 1] * 4),
        "val": noisy_clips("val", [0, 1, 0]),
    }
    return write_set(tmp_path_factory.mktemp("shards"), splits)


@pytest.fixture
def config(shards: Path, tmp_path: Path, tiny: str) -> TrainConfig:
    """A run of six steps, three epochs, that takes a fraction of a second."""
    return small_run(shards, tmp_path / "run", model=tiny)


@pytest.fixture(scope="session")
def released_weights(shared_data: Path) -> Path:
    """The released RGB network, kept beside the project and never inside it."""
    path = shared_data.parent / "weights" / "i3d_rgb_kinetics400_scratch.npz"
    if not path.is_file():
        pytest.skip(f"no released weights at {path}")
    return path
