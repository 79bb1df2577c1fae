"""Clips and shards small enough to train on within a test, and a network as small."""

from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import nn

from i3d_train.config import TrainConfig
from i3d_train.data import open_clips
from i3d_train.models.network import STREAM_CHANNELS, Network
from pipelines.portion import OpenClips
from preprocess.shards import EncodedClip, Index, ShardAttributes
from preprocess.shards.layout import shard_name
from preprocess.shards.write import write_shard

LABELS = ("dark", "light")
LEVELS = (60, 200)
SIDE = 40
FRAMES = 12


def noisy_clip(key: str, label: int, *, seed: int) -> EncodedClip:
    """Noise around a gray level that gives the label away, in the frames and in the flow."""
    rng = np.random.default_rng(seed)
    level = LEVELS[label % 2]
    frames = rng.normal(level, 20, (FRAMES, SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    flows = rng.normal(level, 20, (FRAMES - 1, 2 * SIDE, SIDE)).clip(1, 255).astype(np.uint8)
    return EncodedClip(
        key=key,
        label=label,
        rgb=[cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames],
        flow=[cv2.imencode(".jpg", flow)[1].tobytes() for flow in flows],
        height=SIDE,
        width=SIDE,
        time_start=0.0,
        time_end=FRAMES / 25,
    )


def noisy_clips(split: str, labels: list[int]) -> list[EncodedClip]:
    """One clip a label, with keys such as val0."""
    first_seed = {"train": 0, "val": 1000, "test": 2000}[split]
    return [noisy_clip(f"{split}{n}", label, seed=first_seed + n) for n, label in enumerate(labels)]


def write_set(
    folder: Path,
    splits: dict[str, list[EncodedClip]],
    *,
    labels: tuple[str, ...] = LABELS,
    fps: Fraction = ShardAttributes.fps,
) -> Path:
    """One shard a split, and the index; returns `folder`."""
    attributes = ShardAttributes(short_side=SIDE, labels=labels, fps=fps)
    infos = [write_shard(folder / shard_name(split, 0, 1), clips, attributes) for split, clips in splits.items()]
    Index(config={}, labels=labels, shards=tuple(infos)).write(folder)
    return folder


def small_run(shards: Path, out: Path, *, model: str) -> TrainConfig:
    """Six steps, three epochs of the eight clips of the fixture `shards`."""
    return TrainConfig(
        shards=shards,
        out=out,
        model=model,
        frames=9,
        crop=32,
        batch_size=4,
        steps=6,
        lr=0.1,
        checkpoint_every=3,
        validate_every=2,
        device="cpu",
        loader="torch",
        threads=1,
    )


class TinyNetwork(Network):
    """What a network needs, with the parts that make resuming hard: running averages and dropout."""

    streams: ClassVar[tuple[str, ...]] = ("rgb", "flow")
    min_frames: ClassVar[int] = 9
    head: ClassVar[str] = "classifier"

    def __init__(self, *, num_classes: int, stream: str) -> None:
        super().__init__(num_classes=num_classes, stream=stream)
        self.conv = nn.Conv3d(STREAM_CHANNELS[stream], 8, kernel_size=3, stride=3, bias=False)
        self.bn = nn.BatchNorm3d(8)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, num_classes)

    def step_features(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x_BCTHW))).mean(dim=(2, 3, 4))[:, :, None]


def opened(config: TrainConfig, split: str) -> OpenClips:
    """The clips of one split of a run's shards."""
    return open_clips(config.shards, split=split, reading=config, balanced=config.balanced)
