"""The bytes of a batch, and what becomes of a clip whose bytes cannot be had.

With `on_bad_shard="raise"` the first shard or clip that cannot be read ends the epoch. With `skip`, in training, its
position gets another clip with its own window, crop and flip: attempt 1, 2 and so on of that position, see
`Sampler.sample`. So batches keep their size, and what takes the place depends on seed, epoch and position alone, not on
what failed before. In evaluation nothing takes its place: the row is left out, and a batch left without rows is not
delivered. Each is counted, and logged once.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.checksum import crc_fault
from pipelines.decode import broken
from pipelines.jpeg_header import HeaderCheck
from pipelines.sampling import SamplePlan, Sampler
from preprocess.errors import BadShard
from preprocess.shards import ShardSet

logger = logging.getLogger(__name__)

_ATTEMPTS = 100
"""Draws for one position before all of the data set is taken to be unreadable."""


@dataclass(kw_only=True)
class Skipped:
    """What could not be read so far."""

    shards: dict[str, str] = field(default_factory=dict)
    """Path or address of a shard to the reason; none of its clips are read."""
    clips: dict[str, str] = field(default_factory=dict)
    """Key of a clip to the reason; windows of it that can be decoded are read."""
    draws_of: Counter[int] = field(default_factory=Counter)
    """By epoch, windows that were planned and not delivered; DALI's loader reads ahead, into the next epochs too."""

    @property
    def draws(self) -> int:
        """Windows of all epochs."""
        return self.draws_of.total()

    def up_to(self, epoch: int) -> "Skipped":
        """The same, without windows of later epochs."""
        draws_of = Counter({one: draws for one, draws in self.draws_of.items() if one <= epoch})
        return replace(self, draws_of=draws_of)

    def __str__(self) -> str:
        return f"{self.draws} windows of {len(self.shards)} shards and {len(self.clips)} clips skipped"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One window with its JPEGs."""

    plan: SamplePlan
    jpegs: dict[str, list[np.ndarray]]
    """Stream to the JPEGs of `plan.decoded`, each uint8 [bytes], a view of the shard."""


class Reader:
    """Batches as JPEGs.

    Args:
        shards: to read from.
        sampler: plans the batches.
        skips: leave out what cannot be read; otherwise it raises.
        check_crc: compare the checksum of each clip when it is first read, which reads all of it; a damaged JPEG
            that still decodes is found in no other way.
    """

    def __init__(self, shards: ShardSet, sampler: Sampler, *, skips: bool, check_crc: bool) -> None:
        self.shards = shards
        self.sampler = sampler
        self.skips = skips
        self.skipped = Skipped()
        self._headers = HeaderCheck()
        self._unchecked = np.full(len(shards) if check_crc else 0, True)
        self._attempts: dict[tuple[int, int, int], int] = {}
        for number, reason in shards.bad.items():
            self._note_shard(number, reason)

    def begin(self, epoch: int) -> None:
        """From here on nothing of an earlier epoch is asked for."""
        self._attempts = {place: count for place, count in self._attempts.items() if place[0] >= epoch}

    def batch(self, epoch: int, number: int) -> list[Sample]:
        """A batch of the plan, without the windows that cannot be read.

        Raises:
            BadShard: with `raise`, the first that cannot; with `skip`, when nothing can.
        """
        return self.read(epoch, self.sampler.batch(epoch, number))

    def read(self, epoch: int, plans: Sequence[SamplePlan]) -> list[Sample]:
        """These plans of an epoch, without those that cannot be read; raises as `batch`."""
        found = (self._sample(epoch, plan) for plan in plans)
        return [sample for sample in found if sample is not None]

    def reject(self, epoch: int, plan: SamplePlan, error: BadShard) -> None:
        """Say that the JPEGs of a sample do not decode; the next `batch` has something else there.

        Raises:
            BadShard: `error`, with `raise`.
        """
        if not self.skips:
            raise error
        key = self.shards.key(plan.clip)
        if key not in self.skipped.clips:
            self.skipped.clips[key] = str(error)
            logger.warning("skipping windows of clip %s: %s", key, error)
        self._count(epoch, plan)

    def _sample(self, epoch: int, plan: SamplePlan) -> Sample | None:
        while True:
            attempt = self._attempts.get((epoch, plan.position, plan.window), 0)
            if attempt >= _ATTEMPTS:
                raise BadShard(f"{attempt} clips in a row cannot be read; {self._first_reason()}")
            if attempt and not self.sampler.config.training:
                return None
            drawn = self.sampler.sample(epoch, plan.position, attempt=attempt) if attempt else plan
            number = int(self.shards.shard_of_clip[drawn.clip])
            try:
                jpegs = {
                    stream: self.shards.jpegs(stream, drawn.clip, drawn.decoded)
                    for stream in self.sampler.config.streams
                }
            except BadShard as error:
                if not self.skips:
                    raise
                # for good: what was asked for in vain is not asked for again by every clip of the shard
                self.shards.bad.setdefault(number, str(error))
                self._note_shard(number, str(error))
                self._count(epoch, drawn)
                continue
            sample = Sample(plan=drawn, jpegs=jpegs)
            fault = self._crc_fault(drawn.clip) or self._header_fault(sample)
            if fault is None:
                return sample
            self.reject(epoch, drawn, fault)

    def _crc_fault(self, clip: int) -> BadShard | None:
        if not len(self._unchecked) or not self._unchecked[clip]:
            return None
        for stream in self.sampler.config.streams:
            if fault := crc_fault(self.shards, stream=stream, clip=clip):
                return BadShard(
                    f"{self.shards.source(clip)}: clip {self.shards.key(clip)}: {fault}. Make its shard again with "
                    f"`preprocess flow`"
                )
        self._unchecked[clip] = False
        return None

    def _header_fault(self, sample: Sample) -> BadShard | None:
        clip = sample.plan.clip
        height, width = int(self.shards.clips.height[clip]), int(self.shards.clips.width[clip])
        for stream, jpegs in sample.jpegs.items():
            rows = 2 * height if stream == "flow" else height
            for frame, jpeg in zip(sample.plan.decoded, jpegs, strict=True):
                if fault := self._headers.fault(jpeg, stream=stream, height=rows, width=width):
                    return broken(self.shards, stream=stream, clip=clip, frame=frame, what=fault)
        return None

    def _note_shard(self, number: int, reason: str) -> None:
        store, info = self.shards.infos[number]
        source = store.source(info)
        if source not in self.skipped.shards:
            self.skipped.shards[source] = reason
            logger.warning("skipping the %d clips of shard %s: %s", info.clips, source, reason)

    def _count(self, epoch: int, plan: SamplePlan) -> None:
        self.skipped.draws_of[epoch] += 1
        place = (epoch, plan.position, plan.window)
        self._attempts[place] = self._attempts.get(place, 0) + 1

    def _first_reason(self) -> str:
        return next(iter([*self.skipped.shards.values(), *self.skipped.clips.values()]))
