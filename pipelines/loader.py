"""What the loaders have in common: the shards, the epochs, the batch and the state.

Shapes: B = clips of a batch, C = channels, T = frames, H, W = pixels.
"""

import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch

from pipelines.device import resolve_device
from pipelines.sampling import FeedConfig, SamplePlan, Sampler
from preprocess.errors import InvalidInput
from preprocess.shards import ShardSet
from preprocess.shards.layout import STREAMS

log = logging.getLogger(__name__)

STATE_VERSION = 1

RGB_MEAN, RGB_STD = 127.5, 127.5
FLOW_STD = 127.0
"""Network input is `(code - mean) * float32(1 / std)` in float32; flow's mean is the shards' `flow_zero`.

The product with the rounded reciprocal is what DALI computes; a division differs from it in the last bit.
"""


class Batch(TypedDict):
    """What a loader yields; each batch owns its memory."""

    rgb: NotRequired[torch.Tensor]
    """float32 [B, 3, T, H, W] in [-1, 1], red first; there if asked for."""
    flow: NotRequired[torch.Tensor]
    """float32 [B, 2, T, H, W] in [-1, 1], u before v; 1 is `flow_bound` pixels; there if asked for."""
    label: torch.Tensor
    """int64 [B], index into the label names; -1 where the list has none."""
    key: list[str]
    """The clips' keys."""


Streams = dict[str, torch.Tensor]
"""The decoded part of a batch, by stream."""


CHANNELS = {"rgb": 3, "flow": 2}


def new_stream(stream: str, config: FeedConfig, *, clips: int, device: torch.device) -> torch.Tensor:
    """Memory of one stream of a batch, not yet filled; float32 [B, C, T, H, W], contiguous."""
    shape = (clips, CHANNELS[stream], config.frames, config.crop, config.crop)
    if device.type == "cpu":
        # numpy asks for huge pages; touching torch.empty's small ones costs more than what is written there
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, device=device)


class Loader(ABC):
    """Batches of clips, epoch after epoch.

    Iterating yields one epoch; the next iteration is the next epoch, also when the last one was left early.
    After `load_state_dict` the first iteration goes on inside the epoch that was saved. One iteration runs
    at a time.

    In training all ranks yield equally many full batches, and the tail of the order that does not fill a
    batch on every rank is left out of that epoch. In evaluation every clip comes exactly once, the last
    batch may be shorter, and a rank may yield one batch less than another.

    Args:
        shards: folder of `index.json`.
        split: `train`, `val` or `test`; `train` for training and `val` for evaluation if not given.
        streams: any of `rgb` and `flow`; both show the same window, crop and flip.
        frames: length of the window; shorter clips are looped.
        crop: height and width of the crop in pixels.
        batch_size: clips in a batch of this rank.
        device: where the tensors live: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        shard_id: this rank, from 0.
        num_shards: ranks that read the clips together.
        seed: of order, window, crop and flip.
        training: random draws; otherwise natural order, centre window, centre crop, no flip.
        flip: in training, mirror every other clip; wrong where left and right are different classes.
        threads: that decode on the CPU.

    Raises:
        InvalidInput: an option out of range, no such clips, a crop larger than a frame, too few clips.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: the device, or a library, is not there.
    """

    def __init__(
        self,
        shards: Path | str,
        *,
        split: str | None = None,
        streams: tuple[str, ...] = STREAMS,
        frames: int = 64,
        crop: int = 224,
        batch_size: int = 8,
        device: str | torch.device = "auto",
        shard_id: int = 0,
        num_shards: int = 1,
        seed: int = 0,
        training: bool = True,
        flip: bool = True,
        threads: int = 4,
    ) -> None:
        if threads < 1:
            raise InvalidInput(f"threads is {threads}; it must be at least 1")
        self.config = FeedConfig(
            streams=tuple(streams),
            frames=frames,
            crop=crop,
            batch_size=batch_size,
            seed=seed,
            training=training,
            flip=flip,
            shard_id=shard_id,
            num_shards=num_shards,
        )
        self.device = resolve_device(device)
        self.threads = threads
        self.shards = ShardSet(Path(shards), split or ("train" if training else "val"))
        self.sampler = Sampler(self.shards.clips, self.config)
        self._epoch = 0
        self._batch = 0
        self._resumed = False
        self._iteration = 0
        tail = len(self.shards) % self.config.clips_per_step if training else 0
        if tail:
            log.info("%d of %d clips do not fill a batch and are left out of each epoch", tail, len(self.shards))
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Start what decodes."""

    @abstractmethod
    def _read(self, epoch: int, number: int) -> tuple[list[SamplePlan], Streams]:
        """Decode one batch into tensors of its own; batches are mostly, not always, asked for in order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names; a batch's `label` is an index into them."""
        return self.shards.labels

    def __len__(self) -> int:
        """Batches that this rank reads in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._batch and not self._resumed:
            self._epoch, self._batch = self._epoch + 1, 0
        self._resumed = False
        self._iteration += 1
        mine, epoch = self._iteration, self._epoch
        for number in range(self._batch, len(self)):
            if mine != self._iteration:
                raise InvalidInput(
                    "this iteration was ended by a newer one, or by load_state_dict; open a second loader"
                )
            plans, streams = self._read(epoch, number)
            # counted before the caller has it: a state saved in the loop's body must not repeat this batch
            self._epoch, self._batch = (epoch, number + 1) if number + 1 < len(self) else (epoch + 1, 0)
            yield self._batch_of(plans, streams)
        if mine == self._iteration:
            self._epoch, self._batch = epoch + 1, 0

    def _batch_of(self, plans: list[SamplePlan], streams: Streams) -> Batch:
        rows = [plan.clip for plan in plans]
        batch = Batch(
            label=torch.from_numpy(self.shards.clips.label[rows].astype("int64")).to(self.device),
            key=[key.decode() for key in self.shards.clips.key[rows]],
        )
        if "rgb" in streams:
            batch["rgb"] = streams["rgb"]
        if "flow" in streams:
            batch["flow"] = streams["flow"]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, for `load_state_dict`; in training the same on every rank.

        Returns:
            `version`; `epoch` and `batch`, the next to be delivered (what was prefetched does not count);
            `seed`; and `fingerprint`, what another loader must have in common to go on from there.
        """
        return {
            "version": STATE_VERSION,
            "epoch": self._epoch,
            "batch": self._batch,
            "seed": self.config.seed,
            "fingerprint": self._fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the loader that saved `state` stood; its next batches follow, bit for bit.

        The number of ranks may differ as long as the ranks together read as many clips in a step.

        Raises:
            InvalidInput: the state is of another version, is malformed, or does not fit.
        """
        if state.get("version") != STATE_VERSION:
            raise InvalidInput(f"loader state has version {state.get('version')!r}, this loader knows {STATE_VERSION}")
        mine = {"seed": self.config.seed, **self._fingerprint()}
        theirs = {"seed": state.get("seed"), **dict(state.get("fingerprint") or {})}
        different = [name for name in sorted(mine | theirs) if mine.get(name) != theirs.get(name)]
        if different:
            listed = "; ".join(
                f"{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here" for name in different
            )
            raise InvalidInput(f"loader state does not fit: {listed}; open the loader as the one that saved it")
        epoch, batch = state.get("epoch"), state.get("batch")
        # batch == len: this rank has one batch less than the one that saved, and is through with the epoch
        if not (isinstance(epoch, int) and epoch >= 0 and isinstance(batch, int) and 0 <= batch <= len(self)):
            raise InvalidInput(f"loader state stands at epoch {epoch!r}, batch {batch!r} of {len(self)}; it is damaged")
        self._epoch, self._batch, self._resumed = epoch, batch, True
        self._iteration += 1

    def _fingerprint(self) -> dict[str, Any]:
        clips = self.shards.clips
        return {
            "split": self.shards.split,
            "clips": len(clips),
            "clips_crc32": zlib.crc32(b"\n".join(clips.key.tolist()), zlib.crc32(clips.rgb_count.tobytes())),
            "streams": sorted(self.config.streams),
            "frames": self.config.frames,
            "crop": self.config.crop,
            "clips_per_step": self.config.clips_per_step,
            "training": self.config.training,
            "flip": self.config.flip,
        }
