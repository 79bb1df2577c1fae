import pytest
import torch

from pipelines.device import resolve_device
from preprocess.errors import EnvironmentProblem, InvalidInput


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.parametrize(
    ("asked", "found"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")]
)
def test_gpu_gets_its_index(two_gpus, asked, found):
    assert resolve_device(asked) == torch.device(found)


def test_auto_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


def test_gpu_beyond_the_last_fails(two_gpus):
    with pytest.raises(EnvironmentProblem, match="'cuda:2': this machine has GPUs 0 to 1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:x"])
def test_unknown_device_fails(device):
    with pytest.raises(InvalidInput, match=f"{device}.*use auto, cpu, cuda or cuda:N"):
        resolve_device(device)
