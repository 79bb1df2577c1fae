"""Loaders small enough for tests, and how to compare what they yield."""

import torch

from pipelines import open_loader

SMALL = {"frames": 8, "crop": 32, "batch_size": 2, "threads": 2, "device": "cpu"}


def open_small(shards, backend, **options):
    return open_loader(shards, backend=backend, **{**SMALL, **options})


def assert_equal(left, right) -> None:
    assert left.keys() == right.keys()
    assert left["key"] == right["key"]
    for name in left.keys() - {"key"}:
        assert left[name].shape == right[name].shape, name
        assert left[name].dtype == right[name].dtype, name
        # bits, so that -0.0 is not 0.0
        bits = torch.int32 if left[name].dtype == torch.float32 else left[name].dtype
        assert torch.equal(left[name].view(bits), right[name].view(bits)), name


def assert_same_epochs(left, right, *, epochs: int = 1) -> None:
    for _ in range(epochs):
        for found, expected in zip(left, right, strict=True):
            assert_equal(found, expected)
