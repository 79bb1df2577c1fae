"""One decode of a clip to everything a shard keeps of it: resized frames and flow, as JPEGs."""

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from preprocess.clips import ClipFile
from preprocess.config import FlowConfig
from preprocess.errors import BadMedia
from preprocess.flow import quantise, tvl1
from preprocess.media import read_clip, to_gray
from preprocess.shards.layout import EncodedClip

MAX_SECONDS = 120
"""A longer clip is refused: all its frames are in memory at once."""


@dataclass
class StageSeconds:
    """Where the time of a worker went, and what it made with it."""

    decode: float = 0.0
    """Seconds, as are the next two."""
    flow: float = 0.0
    encode: float = 0.0
    pairs: int = 0
    """Flow fields computed."""
    bytes: int = 0
    """JPEG bytes made."""

    def add(self, other: "StageSeconds") -> None:
        """Sum up."""
        for name in ("decode", "flow", "encode", "pairs", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def extract(
    clip: ClipFile,
    folder: Path,
    *,
    label: int,
    config: FlowConfig,
    backend: str,
    threads: int = 1,
    max_frames: int | None = None,
) -> tuple[EncodedClip, StageSeconds]:
    """Decode, resample, resize, flow, encode.

    Args:
        clip: which file.
        folder: of the clips.
        label: index of its label, -1 for none.
        config: sizes, qualities, flow parameters.
        backend: a resolved flow backend.
        threads: for the flow.
        max_frames: take only the first frames, for a measurement.

    Raises:
        BadMedia: the file cannot be decoded, is too long, or has fewer than two frames.
    """
    limit = round(MAX_SECONDS * config.fps)
    started = time.perf_counter()
    frames_THW3 = read_clip(
        folder / clip.path, fps=config.fps, short_side=config.short_side, max_frames=max_frames or limit + 1
    )
    if len(frames_THW3) > limit:
        raise BadMedia(f"{clip.path}: longer than {MAX_SECONDS} s; trim it first")
    decoded = time.perf_counter()
    codes_T2HW = quantise(tvl1(to_gray(frames_THW3), config.tvl1, backend=backend, threads=threads))
    flowed = time.perf_counter()
    height, width = frames_THW3.shape[1:3]
    encoded = EncodedClip(
        key=clip.key,
        label=label,
        rgb=[encode_frame(frame_HW3, quality=config.rgb_quality) for frame_HW3 in frames_THW3],
        flow=[encode_flow(code_2HW, quality=config.flow_quality) for code_2HW in codes_T2HW],
        height=height,
        width=width,
        time_start=clip.time_start,
        time_end=clip.time_end,
    )
    seconds = StageSeconds(
        decode=decoded - started,
        flow=flowed - decoded,
        encode=time.perf_counter() - flowed,
        pairs=len(codes_T2HW),
        bytes=encoded.nbytes,
    )
    return encoded, seconds


def encode_frame(frame_HW3: np.ndarray, *, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, of an RGB frame uint8 [H, W, 3]."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    return cv2.imencode(".jpg", cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def encode_flow(code_2HW: np.ndarray, *, quality: int) -> bytes:
    """Gray JPEG of 2H x W, u over v, of a quantised flow field uint8 [2, H, W]."""
    stacked = code_2HW.reshape(-1, code_2HW.shape[-1])
    return cv2.imencode(".jpg", stacked, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
