"""Tests of i3d_train.options."""

from pathlib import Path

import pytest

from i3d_train.config import TrainConfig
from i3d_train.evaluate import EvaluateConfig
from i3d_train.features import FeaturesConfig
from i3d_train.options import Reading
from i3d_train.predict import PredictConfig
from preprocess.errors import InvalidInput

SHARDS, WEIGHTS, OUT = Path("shards"), Path("w.pt"), Path("out.npz")


def evaluation(**options):
    return EvaluateConfig(shards=SHARDS, weights=WEIGHTS, **options)


def features(**options):
    return FeaturesConfig(shards=SHARDS, weights=WEIGHTS, out=OUT, **options)


def prediction(**options):
    return PredictConfig(weights=WEIGHTS, **options)


def run(**options):
    return TrainConfig(shards=SHARDS, out=OUT, **options)


@pytest.mark.parametrize("make", [evaluation, features, run])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"loader": "ffcv"}, "loader 'ffcv' is unknown; use one of auto, dali, torch"),
        ({"on_bad_shard": "cry"}, "on_bad_shard 'cry' is unknown; use one of raise, skip"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"cache_gb": 0.0}, r"cache_gb must be positive, got 0\.0"),
        ({"cache_gb": float("nan")}, "cache_gb must be positive, got nan"),
    ],
)
def test_reading_that_cannot_be_fails(make, option, message):
    with pytest.raises(InvalidInput, match=message):
        make(**option)


@pytest.mark.parametrize("make", [evaluation, features, prediction, run])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "tpu"}, "device 'tpu' is unknown; use one of auto, cpu, cuda"),
        ({"precision": "fp8"}, "precision 'fp8' is unknown; use one of auto, bf16, fp16, fp32"),
    ],
)
def test_machine_that_cannot_be_fails(make, option, message):
    with pytest.raises(InvalidInput, match=message):
        make(**option)


def test_cache_is_bounded_in_bytes():
    assert Reading(cache_gb=1.5).loader_options["cache_bytes"] == 3 << 29
