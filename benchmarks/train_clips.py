"""Clips for the training benchmarks: shards of moving textures, and a feed from memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from pipelines import Batch
from preprocess.shards import EncodedClip, Index, ShardAttributes
from preprocess.shards.layout import shard_name
from preprocess.shards.write import write_shard

LABELS = tuple(f"class {number}" for number in range(8))


class MemoryFeed:
    """Stands in for `i3d_train.feed.Feed`: the same few batches for ever, without decoding.

    Args:
        batches: one is a step.
    """

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._next = 0

    def next_step(self) -> list[Batch]:
        """The one batch of the next step."""
        batch = self._batches[self._next % len(self._batches)]
        self._next += 1
        return [batch]


def write_clips(folder: Path, *, clips: int, frames: int, side: int) -> Path:
    """A train split of textures that pan, blurred so that their JPEGs are about as large as real ones; with flow.

    Args:
        folder: to write into.
        clips: at least as many as classes give an even split.
        frames: of each clip.
        side: short side in pixels; frames are 4:3.

    Returns:
        `folder`.
    """
    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(lambda number: _clip(number, frames=frames, side=side), range(clips)))
    folder.mkdir(parents=True)
    attributes = ShardAttributes(short_side=side, labels=LABELS)
    info = write_shard(folder / shard_name("train", 0, 1), encoded, attributes)
    Index(config={}, labels=LABELS, shards=(info,)).write(folder)
    return folder


def _clip(number: int, *, frames: int, side: int) -> EncodedClip:
    rng = np.random.default_rng(number)
    width = side * 4 // 3
    noise = rng.uniform(0, 255, (side, width, 3)).astype(np.float32)
    scene = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4, 12))
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    flow = cv2.GaussianBlur(rng.normal(128, 200, (2 * side, width)).astype(np.float32), (0, 0), 8)
    flow = flow.clip(1, 255).astype(np.uint8)
    step = 1 + number % 4
    return EncodedClip(
        key=f"clip{number:04d}",
        label=number % len(LABELS),
        rgb=[_jpeg(np.roll(scene, step * t, axis=1)) for t in range(frames)],
        flow=[_jpeg(np.roll(flow, step * t, axis=1)) for t in range(frames - 1)],
        height=side,
        width=width,
        time_start=0.0,
        time_end=frames / 25,
    )


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
