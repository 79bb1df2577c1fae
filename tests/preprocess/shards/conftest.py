import cv2
import numpy as np
import pytest

from preprocess.shards import EncodedClip, ShardAttributes


def encoded_clip(key: str, *, frames: int = 4, label: int = 0, seed: int = 0) -> EncodedClip:
    rng = np.random.default_rng(seed)

    def jpeg(*shape: int) -> bytes:
        return cv2.imencode(".jpg", rng.integers(0, 255, shape, np.uint8))[1].tobytes()

    return EncodedClip(
        key=key,
        label=label,
        rgb=[jpeg(32, 40, 3) for _ in range(frames)],
        flow=[jpeg(64, 40) for _ in range(frames - 1)],
        height=32,
        width=40,
        time_start=1.0,
        time_end=11.0,
    )


@pytest.fixture
def clips():
    return [encoded_clip(f"clip_{i}", frames=3 + i, label=i - 1, seed=i) for i in range(3)]


@pytest.fixture
def attributes():
    return ShardAttributes(
        labels=("surfing", "yoga"), tvl1={"tau": 0.25, "backend": "opencv"}, failed={"lost": "no video"}
    )


@pytest.fixture
def shard_path(tmp_path):
    return tmp_path / "train-00000-of-00001.h5"
