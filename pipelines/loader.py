"""What the loaders have in common: the shards, the epochs, the batch and the state.

Shapes: B = rows of a batch, C = channels, T = frames, H, W = pixels.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from pipelines.buffers import Buffers
from pipelines.cache import CACHE_BYTES
from pipelines.device import resolve_device
from pipelines.feed_config import ON_BAD_SHARD, FeedConfig
from pipelines.portion import OpenClips, Shards, Storage, open_clips
from pipelines.prefetch import Prefetcher
from pipelines.reader import Reader, Sample, Skipped
from pipelines.resume import ResumePoint
from pipelines.sampling import Sampler
from preprocess.errors import InvalidInput
from preprocess.shards.layout import STREAMS

logger = logging.getLogger(__name__)

_MOST_THREADS = 10_000
"""More than any machine has use for, and fewer than DALI cannot count."""

RGB_MEAN, RGB_STD = 127.5, 127.5
FLOW_STD = 127.0
"""Network input is `(code - mean) * float32(1 / std)` in float32; flow's mean is the shards' `flow_zero`.

The product with the rounded reciprocal is what DALI computes; a division differs from it in the last bit.
"""


class Batch(TypedDict):
    """What a loader yields; each batch owns its memory. In which order the dimensions lie there is not promised."""

    rgb: NotRequired[torch.Tensor]
    """float32 [B, 3, T, H, W] in [-1, 1], red first; there if asked for."""
    flow: NotRequired[torch.Tensor]
    """float32 [B, 2, T, H, W] in [-1, 1], u before v; 1 is `flow_bound` pixels; there if asked for."""
    label: torch.Tensor
    """int64 [B], index into the label names; -1 where the list has none."""
    key: list[str]
    """The clips' keys."""
    view: NotRequired[torch.Tensor]
    """int64 [B], number of the row's view in its clip, from 0: `window * crops + crop`; there if there are several."""


Streams = dict[str, torch.Tensor]
"""The decoded part of a batch, by stream."""


CHANNELS = {"rgb": 3, "flow": 2}


class Loader(ABC):
    """Batches of clips, epoch after epoch.

    Iterating yields one epoch; the next iteration is the next epoch, also when the last one was left early.
    After `load_state_dict` the first iteration goes on inside the epoch that was saved. One iteration runs
    at a time.

    In training all ranks yield equally many full batches, and the tail of the order that does not fill a
    batch on every rank is left out of that epoch. In evaluation every clip comes exactly once, with all its
    views one after the other on one rank; the last batch may be shorter, and a rank may yield fewer batches
    than another, by those of one clip at most.

    Args:
        shards: folder or address (`s3://`, `https://`, ...) of `index.json`, or several data sets mixed by
            weight: pairs of place and weight, or `pipelines.Portion`s. An epoch of a mixture has as many
            positions as there are clips; each data set gets its share of them and is gone through in passes,
            so that none of its clips is drawn twice before all have been. Or what `pipelines.portion.open_clips` has
            opened, with a split, a list and storage of its own, which several loaders may share.
        split: `train`, `val`, `test` or `extra`; `train` for training and `val` for evaluation if not given.
        streams: any of `rgb` and `flow`; both show the same window, crop and flip.
        frames: length of the window; shorter clips are looped. None, in evaluation with one clip a batch: all
            frames of the clip.
        crop: height and width of the crop in pixels.
        batch_size: rows in a batch of this rank: clips, or views where there are several of a clip.
        device: where the tensors live: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        shard_id: this rank, from 0.
        num_shards: ranks that read the clips together.
        seed: of order, window, crop and flip.
        training: random draws; otherwise natural order, fixed windows and crops, no flip.
        flip: in training, mirror every other clip; wrong where left and right are different classes.
        threads: that decode on the CPU; somewhat more than there are cores to spare is best.
        windows: in evaluation, windows of a clip, spread evenly; 1 is the centre.
        crops: in evaluation, crops of a window: 1 is the centre, 3 lie along the longer side.
        clips: CSV with columns key, label and split, such as `fold1.csv` of `preprocess index`: reads the
            clips of that split of the list, from the shards of all splits.
        balanced: in training, draw every class equally often, in passes like those of a mixture.
        shuffle_shards: in training, shuffle within so many shards at a time, in random order; needed where
            shards are far away and the cache holds a part of them. None shuffles all clips.
        short_clips: `loop`, or `error` for a clip shorter than the window.
        on_bad_shard: `raise`, or `skip` shards and clips that cannot be read, see `skipped`: in training
            another clip takes the place, in evaluation the row is left out, and a batch without rows. With
            `clips` or `balanced` every shard has to be readable when the loader is opened.
        check_crc: compare each clip's checksum when it is first read, which reads all of the clip.
        cache: local folder for copies of shards that are far away, and for clip tables.
        cache_bytes: most that the folder may hold.
        storage_options: of the fsspec file system, such as credentials.

    Attributes:
        config: what the plan follows.
        shards: the clips; of a mixture, all of them.
        sampler: the plan.
        missing: keys of `clips` that no shard has.
        delivered: epoch and number of the last batch, as `sampler.batch` takes them; (-1, -1) before the first.

    Raises:
        InvalidInput: an option out of range, no such clips, a crop larger than a frame, too few clips.
        BadShard: a shard is missing or damaged.
        EnvironmentProblem: the device, or a library, is not there; later, no memory for a batch.
    """

    def __init__(
        self,
        shards: Shards | OpenClips,
        *,
        split: str | None = None,
        streams: tuple[str, ...] = STREAMS,
        frames: int | None = 64,
        crop: int = 224,
        batch_size: int = 8,
        device: str | torch.device = "auto",
        shard_id: int = 0,
        num_shards: int = 1,
        seed: int = 0,
        training: bool = True,
        flip: bool = True,
        threads: int = 4,
        windows: int = 1,
        crops: int = 1,
        clips: Path | str | None = None,
        balanced: bool = False,
        shuffle_shards: int | None = None,
        short_clips: str = "loop",
        on_bad_shard: str = "raise",
        check_crc: bool = False,
        cache: Path | str | None = None,
        cache_bytes: int = CACHE_BYTES,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= threads <= _MOST_THREADS:
            raise InvalidInput(f"threads is {threads}; it must be from 1 to {_MOST_THREADS}")
        if on_bad_shard not in ON_BAD_SHARD:
            raise InvalidInput(f"on_bad_shard is {on_bad_shard!r}; use one of {', '.join(ON_BAD_SHARD)}")
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
            windows=windows,
            crops=crops,
            short_clips=short_clips,
            balanced=balanced,
            shuffle_shards=shuffle_shards,
        )
        self.device = resolve_device(device)
        self.threads = threads
        opened = (
            shards
            if isinstance(shards, OpenClips)
            else open_clips(
                shards,
                split=split or ("train" if training else "val"),
                clips=clips,
                # classes are balanced by labels that an unreadable shard does not tell
                skip_bad=on_bad_shard == "skip" and not balanced,
                storage=Storage(cache=cache, cache_bytes=cache_bytes, options=storage_options or {}),
            )
        )
        self.shards = opened.shards
        self.missing = opened.missing
        self.sampler = Sampler(self.shards.clips, self.config, shard=self.shards.shard_of_clip, shares=opened.shares)
        self._reader = Reader(self.shards, self.sampler, skips=on_bad_shard == "skip", check_crc=check_crc)
        self._resume = ResumePoint(self.shards, self.sampler, shares=opened.shares)
        self._prefetcher = Prefetcher(self.shards, self.sampler, max_bytes=cache_bytes // 2) if opened.far else None
        self._buffers = {stream: Buffers() for stream in self.config.streams}
        self.delivered = (-1, -1)
        self._epoch = 0
        self._batch = 0
        self._resumed = False
        self._iteration = 0
        self._closed = False
        self._tell_what_is_left_out()
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Start what decodes."""

    @abstractmethod
    def _read(self, epoch: int, number: int) -> tuple[list[Sample], Streams]:
        """Decode one batch into tensors of its own; batches are mostly, not always, asked for in order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names; a batch's `label` is an index into them."""
        return self.shards.labels

    @property
    def skipped(self) -> Skipped:
        """What could not be read so far; empty unless `on_bad_shard="skip"`."""
        return self._reader.skipped

    def __len__(self) -> int:
        """Batches that this rank reads in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._closed:
            raise InvalidInput("this loader is closed; open another")
        if self._batch and not self._resumed:
            self._tell_skipped(self._epoch)
            self._epoch, self._batch = self._epoch + 1, 0
        self._resumed = False
        self._iteration += 1
        mine, epoch = self._iteration, self._epoch
        self._reader.begin(epoch)
        for number in range(self._batch, len(self)):
            if mine != self._iteration:
                raise InvalidInput(
                    "this iteration was ended by a newer one, by load_state_dict or by close; open a second loader"
                )
            if self._prefetcher is not None:
                self._prefetcher.aim(epoch, number)
            samples, streams = self._read(epoch, number)
            # counted before the caller has it: a state saved in the loop's body must not repeat this batch
            self._epoch, self._batch = (epoch, number + 1) if number + 1 < len(self) else (epoch + 1, 0)
            self.delivered = (epoch, number)
            if number + 1 == len(self):
                # who wants no more than this batch does not come back
                self._tell_skipped(epoch)
            if samples:
                yield self._batch_of(samples, streams)
        if mine == self._iteration:
            self._epoch, self._batch = epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, for `load_state_dict`; in training the same on every rank.

        Returns:
            `version`; `epoch` and `batch`, the next to be delivered (what was prefetched does not count);
            `seed`; and what another loader must have in common to go on from there, some 60 bytes a shard.
        """
        return self._resume.state(epoch=self._epoch, batch=self._batch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the loader that saved `state` stood; its next batches follow, bit for bit.

        At the start of an epoch the number of ranks and the batch size may differ. Inside one the ranks have to
        read as many clips together in a step.

        Raises:
            InvalidInput: the state is of another version, is malformed, or does not fit; names what differs.
        """
        self._epoch, self._batch = self._resume.position(state)
        self._resumed = True
        self._iteration += 1

    def close(self) -> None:
        """Stop the threads and free what decodes; without it they end with the loader. It cannot be used any more."""
        self._closed = True
        self._iteration += 1
        if self._prefetcher is not None:
            self._prefetcher.close()

    def _batch_of(self, samples: list[Sample], streams: Streams) -> Batch:
        rows = [sample.plan.clip for sample in samples for _ in sample.plan.corners]
        batch = Batch(
            label=torch.from_numpy(self.shards.clips.label[rows].astype("int64")).to(self.device),
            key=[self.shards.key(row) for row in rows],
        )
        if "rgb" in streams:
            batch["rgb"] = streams["rgb"]
        if "flow" in streams:
            batch["flow"] = streams["flow"]
        if self.config.views > 1:
            views = [view for sample in samples for view in sample.plan.views]
            batch["view"] = torch.tensor(views, dtype=torch.int64).to(self.device)
        return batch

    def _tell_skipped(self, epoch: int) -> None:
        skipped = self.skipped.up_to(epoch)
        if skipped.draws:
            logger.warning("up to the end of epoch %d: %s", epoch, skipped)

    def _tell_what_is_left_out(self) -> None:
        tail = self.sampler.positions % self.config.clips_per_step if self.config.training else 0
        if tail:
            logger.info(
                "%d of %d clips do not fill a batch and are left out of each epoch", tail, self.sampler.positions
            )
        if self.sampler.positions < len(self.shards):
            logger.warning(
                "%d of %d clips have no label and are never drawn",
                len(self.shards) - self.sampler.positions,
                len(self.shards),
            )
