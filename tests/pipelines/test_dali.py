import pytest
import torch

from pipelines import ClipLoader, TorchClipLoader

GPU_CODES = 2
"""Largest difference between nvJPEG and libjpeg-turbo that is taken for rounding, in codes of 255."""


def assert_same_bits(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.shape == right.shape
    assert torch.equal(left.view(torch.int32), right.view(torch.int32))


@pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow"), ("flow", "rgb")], ids="-".join)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"training": True, "batch_size": 4}, id="training"),
        pytest.param({"training": True, "batch_size": 2, "num_shards": 2, "shard_id": 1}, id="rank"),
        pytest.param({"training": False, "batch_size": 4}, id="evaluation"),
        pytest.param({"training": False, "batch_size": 1, "frames": 250, "crop": 48}, id="whole-clip"),
    ],
)
def test_cpu_equals_torch_loader_bit_for_bit(shards, streams, options):
    # an odd crop: its borders fall between two chroma samples, where decoders may differ
    options = {"frames": 8, "crop": 31, "threads": 2, "device": "cpu", "streams": streams, **options}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    assert len(dali) == len(oracle) > 0
    for _ in range(2):
        for found, expected in zip(dali, oracle, strict=True):
            assert found["key"] == expected["key"]
            assert torch.equal(found["label"], expected["label"])
            for stream in streams:
                assert_same_bits(found[stream], expected[stream])


def test_state_moves_between_the_loaders(shards):
    options = {"frames": 8, "crop": 31, "batch_size": 2, "threads": 2, "device": "cpu"}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    iteration = iter(dali)
    next(iteration)
    oracle.load_state_dict(dali.state_dict())
    for found, expected in zip(iteration, oracle, strict=True):
        assert found["key"] == expected["key"]
        assert_same_bits(found["flow"], expected["flow"])


@pytest.mark.gpu
@pytest.mark.parametrize("training", [True, False])
def test_gpu_equals_cpu_within_rounding(shards, training):
    options = {"frames": 8, "crop": 31, "batch_size": 4, "threads": 2, "training": training}
    gpu, cpu = ClipLoader(shards, device="cuda", **options), TorchClipLoader(shards, device="cpu", **options)
    for _ in range(2):
        for found, expected in zip(gpu, cpu, strict=True):
            assert found["key"] == expected["key"]
            for stream in ("rgb", "flow"):
                assert found[stream].is_cuda
                assert (found[stream].cpu() - expected[stream]).abs().max() <= GPU_CODES / 127


@pytest.mark.gpu
def test_gpu_batch_stays_valid_after_the_next_ones(shards):
    loader = ClipLoader(shards, frames=8, crop=31, batch_size=2, device="cuda")
    iteration = iter(loader)
    kept = next(iteration)
    copy = kept["rgb"].clone()
    list(iteration)
    assert torch.equal(kept["rgb"], copy)
