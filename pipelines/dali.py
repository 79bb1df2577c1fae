"""Batches decoded by NVIDIA DALI, on the CPU or on a GPU.

Shapes: B = rows of a batch, N = pictures of a run of DALI, C = channels, T = frames, H, W = pixels.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipelines.checksum import crc_fault
from pipelines.dali_graph import build
from pipelines.dali_source import Part, Source, region
from pipelines.decode import decode
from pipelines.loader import CHANNELS, FLOW_STD, RGB_MEAN, RGB_STD, Loader, Streams
from pipelines.normalise import normalise
from pipelines.portion import OpenClips, Shards
from pipelines.reader import Sample
from pipelines.sampling import SamplePlan
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards import ShardSet

HW_DECODER_LOAD = 0.65
"""Part of the JPEGs that a GPU's hardware decoder gets, if it has one; DALI's default."""


class ClipLoader(Loader):
    """`Loader` that decodes, crops, flips and normalises with DALI; see there for arguments and batches.

    DALI works ahead by a batch while the caller has the current one, also across the end of an epoch.

    On the CPU the batches are those of `pipelines.TorchClipLoader` bit for bit. nvJPEG rounds otherwise than
    libjpeg-turbo: on a GPU a value may differ, by 2 codes of 255 as far as the tests let pass.

    Args:
        shards: see `Loader`.
        hw_decoder_load: part of the JPEGs, 0 to 1, that a GPU's hardware decoder gets, if it has one.
        options: see `Loader`.
    """

    def __init__(self, shards: Shards | OpenClips, *, hw_decoder_load: float = HW_DECODER_LOAD, **options: Any) -> None:
        if not 0 <= hw_decoder_load <= 1:
            raise InvalidInput(f"hw_decoder_load is {hw_decoder_load}; it must be from 0 to 1")
        self._hw_decoder_load = hw_decoder_load
        super().__init__(shards, **options)

    def _open(self) -> None:
        self._source = Source(self._reader, finishes=self.device.type == "cuda")
        self._pipeline = build(
            self._source, device=self.device, threads=self.threads, hw_decoder_load=self._hw_decoder_load
        )

    def close(self) -> None:
        """See `Loader.close`."""
        super().close()
        self._pipeline = None

    def _read(self, epoch: int, number: int) -> tuple[list[Sample], Streams]:
        try:
            return self._read_parts(epoch, number)
        except BaseException:
            # Ctrl-C can come between DALI's giving something and the source's learning of it: begin with nothing on its
            # way, or everything after it would pass for the clip before
            self._pipeline = None
            raise

    def _read_parts(self, epoch: int, number: int) -> tuple[list[Sample], Streams]:
        while True:
            if self._may_be_empty and not self._reader.batch(epoch, number):
                return [], {}
            if self._pipeline is None:
                self._open()
            self._source.aim(epoch, number)
            samples: list[Sample] = []
            streams: Streams = {}
            while run := self._run(epoch, number, first=len(samples)):
                part, outputs = run
                # its dynamic executor never writes again into what it has returned while a tensor shares it, nor, on a
                # GPU, before all that was queued until then is done: DALI keeps what a deleted tensor shared until then
                made = [from_dlpack(output.as_tensor()) for output in outputs]
                if self._source.finishes:
                    streams = self._gathered(made, part)
                else:
                    self._normalise(made, part, streams)
                samples += part.samples
                if len(samples) == part.whole:
                    return samples, streams

    def _run(self, epoch: int, number: int, *, first: int) -> tuple[Part, tuple[Any, ...]] | None:
        """The part of a batch that begins with its clip `first`, and what DALI made of it; None when the batch has to
        begin anew, because some of it cannot be decoded.
        """
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        while True:
            try:
                outputs = self._pipeline.run(stream)
            except StopIteration:
                failed, self._pipeline = self._source.failed, None
                assert failed is not None
                if failed[0] == (epoch, number):
                    raise failed[1] from None
                return None
            except RuntimeError as error:
                # what a pipeline returns after an error is not defined: the next batch starts a fresh one
                self._pipeline = None
                self._reject_undecodable(error)
                return None
            part = self._source.delivered()
            if part is not None and (part.epoch, part.number, part.first) == (epoch, number, first):
                return part, outputs

    @property
    def _may_be_empty(self) -> bool:
        return self._reader.skips and not self.config.training

    def _normalise(self, made: list[torch.Tensor], part: Part, streams: Streams) -> None:
        """Make network input of the one clip of a part, from regions of codes on the CPU, in its rows of a batch."""
        (plan,) = (sample.plan for sample in part.samples)
        frames, crops, crop = len(plan.frames), len(plan.corners), self.config.crop
        (top, left), _ = region(plan, crop)
        picture = np.arange(frames) % len(plan.decoded)
        for stream, codes in zip(self.config.streams, made, strict=True):
            if stream not in streams:
                shape = (part.whole * crops, CHANNELS[stream], frames, crop, crop)
                streams[stream] = self._buffers[stream].take(shape)
            codes_NHWC = codes.numpy()
            codes_NCHW = codes_NHWC.transpose(0, 3, 1, 2) if stream == "rgb" else self._planes(codes_NHWC[..., 0], plan)
            for row, corner in enumerate(plan.corners, start=part.first * crops):
                normalise(
                    codes_NCHW,
                    streams[stream][row].numpy(),
                    picture=picture,
                    corner=(corner[0] - top, corner[1] - left),
                    mirror=plan.flip,
                    **self._numbers(stream, plan),
                )

    def _planes(self, codes_NHW: np.ndarray, plan: SamplePlan) -> np.ndarray:
        """u and v, uint8 [N, 2, H, W], in a region that begins in u and ends in v."""
        height = int(self.shards.clips.height[plan.clip])
        pictures, rows, columns = codes_NHW.shape
        picture, row, pixel = codes_NHW.strides
        return np.lib.stride_tricks.as_strided(
            codes_NHW,
            (pictures, 2, rows - height, columns),
            (picture, height * row, row, pixel),
            writeable=False,
        )

    def _numbers(self, stream: str, plan: SamplePlan) -> dict[str, Any]:
        """What makes network input of codes, as `pipelines.normalise` takes it."""
        if stream == "rgb":
            return {"mean": RGB_MEAN, "scale": [np.float32(1) / np.float32(RGB_STD)] * 3}
        scale = np.float32(1) / np.float32(FLOW_STD)
        # JPEG turns a code 1 beside others into 0 now and then, which lies outside
        return {
            "mean": self.shards.attributes.flow_zero,
            "scale": [-scale if plan.flip else scale, scale],
            "bound": 1,
        }

    def _gathered(self, made: list[torch.Tensor], part: Part) -> Streams:
        """Bring each clip's frames together, from network input."""
        config, plans = self.config, [sample.plan for sample in part.samples]
        counts = [len(plan.decoded) for plan in plans]
        streams: Streams = {}
        for first, stream in zip(range(0, len(made), config.crops), config.streams, strict=True):
            rows, frames = len(plans) * config.crops, len(plans[0].frames)
            out_BCTHW = torch.empty(rows, CHANNELS[stream], frames, config.crop, config.crop, device=self.device)
            by_crop = out_BCTHW.view(len(plans), config.crops, *out_BCTHW.shape[1:])
            for crop, made_NCHW in enumerate(made[first : first + config.crops]):
                _put(made_NCHW, by_crop[:, crop], counts)
            # as in `_numbers`
            streams[stream] = out_BCTHW.clamp_(-1, 1) if stream == "flow" else out_BCTHW
        return streams

    def _reject_undecodable(self, error: RuntimeError) -> None:
        """Find what is behind DALI's error: broken JPEGs, by name, or a problem of the machine, which it raises."""
        in_flight = self._source.in_flight()
        for find in (_undecodable, _changed):
            faults = [
                (part.epoch, sample, fault)
                for part in in_flight
                for sample in part.samples
                if (fault := find(self.shards, sample)) is not None
            ]
            for epoch, sample, fault in faults:
                self._reader.reject(epoch, sample.plan, fault)
            if faults:
                return
        raise EnvironmentProblem(f"DALI failed: {error}; if memory ran out, use a smaller batch_size") from error


def _put(made_NCHW: torch.Tensor, out_BCTHW: torch.Tensor, counts: list[int]) -> None:
    """Copy the frames of each clip, `counts` of them, to their places; those of a looped clip several times."""
    frames = out_BCTHW.shape[2]
    for made_TCHW, out_CTHW in zip(torch.split(made_NCHW, counts), out_BCTHW, strict=True):
        for first in range(0, frames, len(made_TCHW)):
            piece_CTHW = out_CTHW[:, first : first + len(made_TCHW)]
            piece_CTHW.copy_(made_TCHW[: piece_CTHW.shape[1]].transpose(0, 1))


def _undecodable(shards: ShardSet, sample: Sample) -> BadShard | None:
    plan = sample.plan
    try:
        for stream, jpegs in sample.jpegs.items():
            for frame, jpeg in zip(plan.decoded, jpegs, strict=True):
                decode(jpeg, shards, stream=stream, clip=plan.clip, frame=frame)
    except BadShard as error:
        return error
    return None


def _changed(shards: ShardSet, sample: Sample) -> BadShard | None:
    clip = sample.plan.clip
    for stream in sample.jpegs:
        if fault := crc_fault(shards, stream=stream, clip=clip):
            return BadShard(f"{shards.source(clip)}: clip {shards.key(clip)}: DALI cannot decode it; {fault}")
    return None
