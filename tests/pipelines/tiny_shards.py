"""A tiny shard set: textured clips to compare pixels, and flat ones whose pixels tell the frame number."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from preprocess.paths import publish
from preprocess.shards import EncodedClip, Index, ShardAttributes, ShardInfo
from preprocess.shards.layout import shard_name
from preprocess.shards.write import shard_image

LABELS = ("archery", "yoga", "zumba")
SIZES = ((48, 64), (72, 48), (49, 67), (48, 48), (71, 53))
"""Heights and widths: landscape, portrait, odd landscape, square, odd portrait."""
LEVELS = 6
"""Gray levels between two frames of a flat clip; far more than JPEG changes."""


def encode(image: np.ndarray) -> bytes:
    # 4:2:0 as in real shards: chroma is where decoders differ
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 95]
    parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return cv2.imencode(".jpg", image, parameters)[1].tobytes()


def encoded_clip(key: str, *, label: int, rgb: list[np.ndarray], flow: list[np.ndarray]) -> EncodedClip:
    height, width = rgb[0].shape[:2]
    return EncodedClip(
        key=key,
        label=label,
        rgb=[encode(image) for image in rgb],
        flow=[encode(codes) for codes in flow],
        height=height,
        width=width,
        time_start=0.0,
        time_end=10.0,
    )


def textured_clip(key: str, *, label: int, frames: int, size: tuple[int, int]) -> EncodedClip:
    """Noise that drifts to the right, and flow codes that fill the range."""
    height, width = size
    rng = np.random.default_rng(list(key.encode()))
    noise = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (3, 3), 0)
    codes = rng.integers(1, 256, (2 * height, width), dtype=np.uint8)
    rgb = [np.roll(noise, t, axis=1) for t in range(frames)]
    return encoded_clip(key, label=label, rgb=rgb, flow=[np.roll(codes, 2 * t, axis=1) for t in range(frames - 1)])


def flat_clip(key: str, *, label: int, frames: int) -> EncodedClip:
    """Frame t is all `LEVELS * t`; flow t is u = 128 + t and v = 128 - 2 t everywhere."""
    rgb = [np.full((48, 64, 3), LEVELS * t, np.uint8) for t in range(frames)]
    flow = [np.repeat(np.array([[128 + t], [128 - 2 * t]], np.uint8), 48, 0).repeat(64, 1) for t in range(frames - 1)]
    return encoded_clip(key, label=label, rgb=rgb, flow=flow)


def ramp_clip(key: str, *, frames: int = 8) -> EncodedClip:
    """Every frame and both flow components brighten by 2 codes a pixel to the right."""
    ramp = np.repeat(64 + 2 * np.arange(64, dtype=np.uint8)[None], 48, 0)
    return encoded_clip(
        key, label=-1, rgb=[np.dstack([ramp] * 3)] * frames, flow=[np.vstack([ramp, ramp])] * (frames - 1)
    )


def publish_shard(path: Path, clips: list[EncodedClip], attributes: ShardAttributes) -> ShardInfo:
    """As `write_shard`, without its check, which refuses what some tests want to be broken."""
    image = shard_image(clips, attributes)
    publish(path, image)
    return ShardInfo(name=path.name, bytes=len(image), sha256=hashlib.sha256(image).hexdigest(), clips=len(clips))


def write_set(folder: Path, splits: dict[str, list[list[EncodedClip]]]) -> Path:
    """Shards of each split, and their index."""
    infos = []
    for split, shards in splits.items():
        for number, clips in enumerate(shards):
            path = folder / shard_name(split, number, len(shards))
            infos.append(publish_shard(path, clips, ShardAttributes(short_side=48, labels=LABELS)))
    Index(config={}, labels=LABELS, shards=tuple(infos)).write(folder)
    return folder
