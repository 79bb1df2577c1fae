"""Batches decoded by NVIDIA DALI, on the CPU or on a GPU; the only file that imports it.

One DALI sample is one JPEG: B clips run as B * T samples, so that only the frames of a window are touched.

Shapes: B = clips of a batch, C = channels, T = frames, H, W = pixels.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipelines.buffers import Buffers
from pipelines.checksum import crc_fault
from pipelines.dali_source import INPUTS, Source
from pipelines.decode import decode
from pipelines.loader import CHANNELS, FLOW_STD, RGB_MEAN, RGB_STD, Loader, Streams, new_stream
from pipelines.normalise import normalise
from pipelines.portion import Shards
from pipelines.reader import Sample
from pipelines.sampling import SamplePlan
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards import ShardSet

try:
    from nvidia.dali import Pipeline, fn, types
except ImportError as error:
    raise EnvironmentProblem(
        f"NVIDIA DALI cannot be imported ({error}); pip install 'kineflow[cuda13]', or use pipelines.TorchClipLoader"
    ) from error

HW_DECODER_LOAD = 0.65
"""Part of the JPEGs that a GPU's hardware decoder gets, if it has one; DALI's default."""

_STD = {"rgb": RGB_STD, "flow": FLOW_STD}
_TYPES: dict[type, Any] = {np.uint8: types.UINT8, np.int32: types.INT32, np.float32: types.FLOAT}


class ClipLoader(Loader):
    """`Loader` that decodes, crops, flips and normalises with DALI; see there for arguments and batches.

    DALI works ahead by two batches while the caller has the current one, also across the end of an epoch.

    On the CPU the batches are those of `pipelines.TorchClipLoader` bit for bit. nvJPEG rounds otherwise than
    libjpeg-turbo: on a GPU a value may differ, by 2 codes of 255 as far as the tests let pass.

    Args:
        shards: see `Loader`.
        hw_decoder_load: part of the JPEGs, 0 to 1, that a GPU's hardware decoder gets, if it has one.
        options: see `Loader`.
    """

    def __init__(self, shards: Shards, *, hw_decoder_load: float = HW_DECODER_LOAD, **options: Any) -> None:
        if not 0 <= hw_decoder_load <= 1:
            raise InvalidInput(f"hw_decoder_load is {hw_decoder_load}; it must be from 0 to 1")
        self._hw_decoder_load = hw_decoder_load
        super().__init__(shards, **options)

    def _open(self) -> None:
        self._source = Source(self._reader, normalises=self.device.type == "cuda")
        self._buffers = {stream: Buffers() for stream in self.config.streams}
        self._pipeline = _build(
            self._source, device=self.device, threads=self.threads, hw_decoder_load=self._hw_decoder_load
        )

    def _read(self, epoch: int, number: int) -> tuple[list[Sample], Streams]:
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        while True:
            if self._may_be_empty and not self._reader.batch(epoch, number):
                return [], {}
            if self._pipeline is None:
                self._open()
            self._source.aim(epoch, number)
            try:
                outputs = self._pipeline.run(stream)
            except StopIteration:
                failed, self._pipeline = self._source.failed, None
                assert failed is not None
                if failed[0] == (epoch, number):
                    raise failed[1] from None
                continue
            except RuntimeError as error:
                # what a pipeline returns after an error is not defined: the next batch starts a fresh one
                self._pipeline = None
                self._reject_undecodable(error)
                continue
            position, samples = self._source.delivered()
            if position == (epoch, number):
                return samples, self._assemble(outputs, samples)

    @property
    def _may_be_empty(self) -> bool:
        return self._reader.skips and not self.config.training

    def _assemble(self, outputs: tuple[Any, ...], samples: list[Sample]) -> Streams:
        """Bring each clip's frames together."""
        config, plans = self.config, [sample.plan for sample in samples]
        assemble = self._normalised if self.device.type == "cpu" else self._gathered
        # its dynamic executor never writes again into what it has returned, as long as a tensor shares it
        made = iter(from_dlpack(output.as_tensor()) for output in outputs)
        return {stream: assemble(stream, [next(made) for _ in range(config.crops)], plans) for stream in config.streams}

    def _normalised(self, stream: str, crops_NCHW: list[torch.Tensor], plans: list[SamplePlan]) -> torch.Tensor:
        """From codes, on the CPU: each plane is written once, to its place, or places if its clip is looped."""
        config, channels, frames = self.config, CHANNELS[stream], len(plans[0].frames)
        shape = (len(plans), config.crops, channels, frames, config.crop, config.crop)
        out = self._buffers[stream].take(shape)
        pixels = config.crop * config.crop
        counts = np.array([len(plan.decoded) for plan in plans])
        first = np.cumsum(counts) - counts
        # int64 [B, T], the picture that each frame of each clip is
        picture = first[:, None] + np.arange(frames) % counts[:, None]
        source_BTC = channels * picture[..., None] + np.arange(channels)
        target_BTC = np.arange(len(plans) * config.crops * channels * frames).reshape(shape[:4]).transpose(0, 1, 3, 2)
        scale_BTC = np.full(source_BTC.shape, np.float32(1) / np.float32(_STD[stream]))
        if stream == "flow":
            scale_BTC[[plan.flip for plan in plans], :, 0] *= -1
        for crop, codes_NCHW in enumerate(crops_NCHW):
            normalise(
                codes_NCHW.numpy().reshape(-1, pixels),
                out.numpy().reshape(-1, pixels),
                source=source_BTC.reshape(-1),
                target=target_BTC[:, crop].reshape(-1),
                scale=scale_BTC.reshape(-1),
                mean=RGB_MEAN if stream == "rgb" else self.shards.attributes.flow_zero,
                # JPEG turns a code 1 beside others into 0 now and then, which lies outside
                bound=1 if stream == "flow" else np.inf,
            )
        return out.view(-1, *shape[2:])

    def _gathered(self, stream: str, crops_NCHW: list[torch.Tensor], plans: list[SamplePlan]) -> torch.Tensor:
        """From numbers, on a GPU."""
        config, counts = self.config, [len(plan.decoded) for plan in plans]
        rows, frames = len(plans) * config.crops, len(plans[0].frames)
        out_BCTHW = new_stream(stream, rows=rows, frames=frames, crop=config.crop, device=self.device)
        by_crop = out_BCTHW.view(len(plans), config.crops, *out_BCTHW.shape[1:])
        for crop, made_NCHW in enumerate(crops_NCHW):
            _put(made_NCHW, by_crop[:, crop], counts)
        return out_BCTHW.clamp_(-1, 1) if stream == "flow" else out_BCTHW  # as in `_normalised`

    def _reject_undecodable(self, error: RuntimeError) -> None:
        """Find what is behind DALI's error: broken JPEGs, by name, or a problem of the machine, which it raises."""
        in_flight = self._source.in_flight()
        for find in (_undecodable, _changed):
            faults = [
                (epoch, sample, fault)
                for (epoch, _), samples in in_flight
                for sample in samples
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


def _build(source: Source, *, device: torch.device, threads: int, hw_decoder_load: float) -> Any:
    """The DALI pipeline: one graph for CPU and GPU; on the CPU it ends with the codes."""
    config, sampler = source.config, source.reader.sampler
    on_gpu = device.type == "cuda"
    pipeline = Pipeline(
        batch_size=config.batch_size // config.crops * sampler.longest,
        num_threads=threads,
        device_id=device.index if on_gpu else None,
        # the default, and what the batches' memory relies on
        exec_dynamic=True,
    )
    decoder = _decoder(on_gpu, hw_decoder_load=hw_decoder_load)
    with pipeline:
        nodes = fn.external_source(
            source=source,
            num_outputs=len(source.names),
            batch=True,
            no_copy=True,
            dtype=[_TYPES[INPUTS[name][0]] for name in source.names],
            ndim=[INPUTS[name][1] for name in source.names],
        )
        fed = dict(zip(source.names, nodes, strict=True))
        outputs: list[Any] = []
        for stream in config.streams:
            cut, numbers = (_rgb if stream == "rgb" else _flow), {"dtype": types.UINT8}
            if source.normalises:
                numbers = _numbers(fed, stream=stream, zero=source.reader.shards.attributes.flow_zero)
            outputs.extend(cut(fed, side=config.crop, crops=config.crops, decoder=decoder, numbers=numbers))
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _numbers(fed: dict[str, Any], *, stream: str, zero: int) -> dict[str, Any]:
    """Arguments that make network input of codes; `pipelines.normalise` does it on the CPU."""
    if stream == "rgb":
        return {"mean": [RGB_MEAN] * 3, "std": [RGB_STD] * 3}
    return {"mean": [float(zero)] * 2, "std": fed["flow_std"]}


def _rgb(fed: dict[str, Any], *, side: int, crops: int, decoder: dict[str, Any], numbers: dict[str, Any]) -> list[Any]:
    """The frames of each crop, all cut from one decoded region."""
    pixels_HWC = fn.decoders.image_slice(
        fed["rgb"], start=fed["rgb_start"], shape=fed["rgb_shape"], axes=[0, 1], **decoder
    )
    return [
        fn.crop_mirror_normalize(
            pixels_HWC,
            mirror=fed["mirror"],
            output_layout="CHW",
            **numbers,
            **({} if crops == 1 else _crop(side, y=fed["rgb_place"][2 * crop], x=fed["rgb_place"][2 * crop + 1])),
        )
        for crop in range(crops)
    ]


def _flow(fed: dict[str, Any], *, side: int, crops: int, decoder: dict[str, Any], numbers: dict[str, Any]) -> list[Any]:
    """The u and v of each crop."""
    codes_HWC = fn.decoders.image_slice(
        fed["flow"],
        start=fed["flow_start"],
        shape=fed["flow_shape"],
        axes=[0, 1],
        output_type=types.GRAY,
        **decoder,
    )
    # u lies on top of v: as two channels of a picture they are cut and mirrored in one go
    codes_CHW = fn.reshape(codes_HWC, shape=fed["flow_planes"], layout="CHW")
    return [
        fn.crop_mirror_normalize(
            codes_CHW,
            mirror=fed["mirror"],
            output_layout="CHW",
            **numbers,
            **_crop(side, y=fed["flow_place"][2 * crop], x=fed["flow_place"][2 * crop + 1]),
        )
        for crop in range(crops)
    ]


def _crop(side: int, *, y: Any, x: Any) -> dict[str, Any]:
    """Arguments of a crop; positions are relative to the room that it leaves, 0 to 1."""
    return {"crop": [side, side], "crop_pos_y": y, "crop_pos_x": x}


def _decoder(on_gpu: bool, *, hw_decoder_load: float) -> dict[str, Any]:
    if not on_gpu:
        return {"device": "cpu"}
    # without fancy upsampling, which libjpeg-turbo does, chroma differs from what the CPU decodes
    return {"device": "mixed", "hw_decoder_load": hw_decoder_load, "jpeg_fancy_upsampling": True}
