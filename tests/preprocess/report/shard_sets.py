"""Small sets of shards whose motion, pictures and losses are chosen."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from preprocess.flow import quantise
from preprocess.shards import EncodedClip, Index, ShardAttributes
from preprocess.shards.layout import shard_name
from tests.pipelines.tiny_shards import encoded_clip, publish_shard

LABELS = ("archery", "yoga", "<script>alert(1)</script>")
HEIGHT, WIDTH = 48, 64
FIELD = (2, HEIGHT, WIDTH)


def uniform(u: float, v: float) -> np.ndarray:
    """A flow field of one motion, float32 [2, H, W]."""
    return np.broadcast_to(np.array([u, v], np.float32)[:, None, None], FIELD).copy()


def picture(seed: int, *, color: tuple[int, int, int] = (90, 90, 90)) -> np.ndarray:
    """Blobs around a colour, uint8 [H, W, 3]; another seed is another picture."""
    blobs = np.random.default_rng(seed).normal(0, 300, (HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(blobs, (0, 0), 4) + np.array(color), 0, 255).astype(np.uint8)


def clip(
    key: str,
    *,
    label: int = 0,
    flow: Sequence[np.ndarray] = (uniform(1, 0),) * 7,
    rgb: Sequence[np.ndarray] | None = None,
) -> EncodedClip:
    """A clip of that flow, in px; its frames are pictures of its own, each a little brighter than the one before."""
    if rgb is None:
        base = picture(sum(key.encode()) * 1000 + len(key))
        rgb = [np.clip(base.astype(np.int16) + 3 * t, 0, 255).astype(np.uint8) for t in range(len(flow) + 1)]
    codes = [quantise(field_2HW).reshape(-1, field_2HW.shape[-1]) for field_2HW in flow]
    # OpenCV takes blue for the first
    return encoded_clip(key, label=label, rgb=[frame[..., ::-1] for frame in rgb], flow=codes)


def write_set(
    folder: Path,
    splits: dict[str, list[list[EncodedClip]]],
    *,
    failed: dict[str, str] | None = None,
    labels: tuple[str, ...] = LABELS,
) -> Path:
    """Shards of each split, and their index; `failed` are clips of the first shard."""
    infos = []
    for split, shards in splits.items():
        for number, clips in enumerate(shards):
            path = folder / shard_name(split, number, len(shards))
            attributes = ShardAttributes(
                short_side=HEIGHT, labels=labels, tvl1={"tau": 0.25, "<i>": 1}, failed={} if infos else failed or {}
            )
            infos.append(publish_shard(path, clips, attributes))
    Index(config={}, labels=labels, shards=tuple(infos)).write(folder)
    return folder
