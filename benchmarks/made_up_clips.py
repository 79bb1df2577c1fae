"""Shards of moving textures, whose JPEGs are about as large as those of real videos."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from preprocess.shards import EncodedClip, Index, ShardAttributes
from preprocess.shards.layout import shard_name
from preprocess.shards.write import write_shard

LABELS = tuple(f"class {number}" for number in range(8))


def write_clips(folder: Path, *, clips: int, frames: int, side: int, shards: int = 1, quality: int = 95) -> Path:
    """A train split of textures that pan, with flow.

    Args:
        folder: to write into, new.
        clips: as many in each shard.
        frames: of each clip.
        side: short side in pixels; frames are 4:3.
        shards: how many.
        quality: of the JPEGs.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True)
    attributes = ShardAttributes(short_side=side, rgb_quality=quality, flow_quality=quality, labels=LABELS)
    infos = []
    with ThreadPoolExecutor() as pool:
        for shard in range(shards):
            numbers = range(shard * clips, (shard + 1) * clips)
            encoded = list(pool.map(partial(_clip, frames=frames, side=side, quality=quality), numbers))
            infos.append(write_shard(folder / shard_name("train", shard, shards), encoded, attributes))
    Index(config={}, labels=LABELS, shards=tuple(infos)).write(folder)
    return folder


def _clip(number: int, *, frames: int, side: int, quality: int) -> EncodedClip:
    rng = np.random.default_rng(number)
    width = side * 4 // 3 // 2 * 2  # even, as FFmpeg makes them
    noise = rng.uniform(0, 255, (side, width, 3)).astype(np.float32)
    scene = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4, 12))
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    flow = cv2.GaussianBlur(rng.normal(128, 200, (2 * side, width)).astype(np.float32), (0, 0), 8)
    flow = flow.clip(1, 255).astype(np.uint8)
    step = 1 + number % 4
    return EncodedClip(
        key=f"clip{number:04d}",
        label=number % len(LABELS),
        rgb=[_jpeg(np.roll(scene, step * t, axis=1), quality) for t in range(frames)],
        flow=[_jpeg(np.roll(flow, step * t, axis=1), quality) for t in range(frames - 1)],
        height=side,
        width=width,
        time_start=0.0,
        time_end=frames / 25,
    )


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    """As `preprocess flow` writes them."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420] if image.ndim == 3 else []
    return cv2.imencode(".jpg", image, options)[1].tobytes()
