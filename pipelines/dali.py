"""Batches decoded by NVIDIA DALI, on the CPU or on a GPU; the only file that imports it.

One DALI sample is one JPEG: B clips run as B * T samples, so that only the frames of a window are touched.

Shapes: B = clips of a batch, C = channels, T = frames, H, W = pixels.
"""

from collections import deque
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipelines.decode import DECODERS
from pipelines.loader import FLOW_STD, RGB_MEAN, RGB_STD, Loader, Streams, new_stream
from pipelines.sampling import SamplePlan, Sampler
from preprocess.errors import EnvironmentProblem
from preprocess.shards import ShardSet

try:
    from nvidia.dali import Pipeline, fn, types
except ImportError as error:
    raise EnvironmentProblem(
        f"NVIDIA DALI cannot be imported ({error}); pip install 'kineflow[cuda13]', or use pipelines.TorchClipLoader"
    ) from error

HW_DECODER_LOAD = 0.65
"""Part of the JPEGs that a GPU's hardware decoder gets, if it has one; DALI's default."""

_INPUTS = {
    "start": (types.INT32, 1),
    "mirror": (types.INT32, 0),
    "rgb": (types.UINT8, 1),
    "flow": (types.UINT8, 1),
    "flow_shape": (types.INT32, 1),
    "u_std": (types.FLOAT, 1),
}
"""Input of the graph to the type and number of dimensions of one sample."""

_INPUTS_OF = {"rgb": ("rgb",), "flow": ("flow", "flow_shape", "u_std")}
_OUTPUTS_OF = {"rgb": ("rgb",), "flow": ("u", "v")}


class ClipLoader(Loader):
    """`Loader` that decodes, crops, flips and normalises with DALI; see there for arguments and batches.

    DALI works ahead by two batches while the caller has the current one, also across the end of an epoch.
    """

    def _open(self) -> None:
        self._source = _Source(self.shards, self.sampler)
        self._pipeline = _build(self._source, device=self.device, threads=self.threads)

    def _read(self, epoch: int, number: int) -> tuple[list[SamplePlan], Streams]:
        if self._pipeline is None:
            self._open()
        self._source.aim(epoch, number)
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        while True:
            try:
                outputs = self._pipeline.run(stream)
            except RuntimeError as error:
                # what a pipeline returns after an error is not defined: the next batch starts a fresh one
                self._pipeline = None
                self._explain(error)
            position, plans = self._source.delivered()
            if position == (epoch, number):
                return plans, self._assemble(outputs, clips=len(plans))

    def _assemble(self, outputs: tuple[Any, ...], *, clips: int) -> Streams:
        """The one copy between DALI and the caller; it also brings each clip's frames together."""
        config = self.config
        names = [name for stream in config.streams for name in _OUTPUTS_OF[stream]]
        made_BCTHW = {
            name: from_dlpack(output.as_tensor())
            .view(clips, config.frames, -1, config.crop, config.crop)
            .transpose(1, 2)
            for name, output in zip(names, outputs, strict=True)
        }
        streams = {stream: new_stream(stream, config, clips=clips, device=self.device) for stream in config.streams}
        if "rgb" in streams:
            streams["rgb"].copy_(made_BCTHW["rgb"])
        if "flow" in streams:
            # JPEG turns a code 1 beside others into 0 now and then, which lies outside
            torch.clamp(made_BCTHW["u"], -1, 1, out=streams["flow"][:, :1])
            torch.clamp(made_BCTHW["v"], -1, 1, out=streams["flow"][:, 1:])
        return streams

    def _explain(self, error: RuntimeError) -> NoReturn:
        """Raise what is behind DALI's error: a broken JPEG, by name, or a problem of the machine."""
        for plans in self._source.in_flight():
            for plan in plans:
                for stream in self.config.streams:
                    for frame in sorted(set(plan.frames)):
                        DECODERS[stream](self.shards, clip=plan.clip, frame=frame)
        raise EnvironmentProblem(f"DALI failed: {error}; if memory ran out, use a smaller batch_size") from error


class _Source:
    """Feeds DALI one batch a call, and remembers what is on its way.

    DALI asks for batches before the caller does, so the source runs ahead of the loader and goes on into the
    next epoch by itself. A batch is a pure function of its position: one that is on its way already is right,
    whoever wanted it.
    """

    def __init__(self, shards: ShardSet, sampler: Sampler) -> None:
        self.shards = shards
        self.sampler = sampler
        self._next = (0, 0)
        # with the arrays, because DALI reads them without a copy until the batch is delivered
        self._sent: deque[tuple[tuple[int, int], list[SamplePlan], list[Any]]] = deque()

    def aim(self, epoch: int, number: int) -> None:
        """Make sure that this batch is on its way."""
        if all(position != (epoch, number) for position, *_ in self._sent):
            self._next = (epoch, number)

    def __call__(self) -> list[Any]:
        """Inputs of the graph for one batch, in the order of `names`."""
        epoch, number = self._next
        plans = self.sampler.batch(epoch, number)
        arrays = self._arrays(plans)
        self._sent.append(((epoch, number), plans, arrays))
        self._next = (epoch, number + 1) if number + 1 < len(self.sampler) else (epoch + 1, 0)
        return arrays

    def delivered(self) -> tuple[tuple[int, int], list[SamplePlan]]:
        """Epoch and number, and plans, of the batch that DALI has just returned."""
        position, plans, _ = self._sent.popleft()
        return position, plans

    def in_flight(self) -> list[list[SamplePlan]]:
        """Plans of the batches that DALI has and has not returned."""
        return [plans for _, plans, _ in self._sent]

    @property
    def names(self) -> list[str]:
        """Inputs of the graph, of `_INPUTS`."""
        streams = self.sampler.config.streams
        return ["start", "mirror", *(name for stream in streams for name in _INPUTS_OF[stream])]

    def _arrays(self, plans: list[SamplePlan]) -> list[Any]:
        config = self.sampler.config
        heights = self.shards.clips.height[[plan.clip for plan in plans]].tolist()
        by_clip = {
            "start": [(plan.top, plan.left) for plan in plans],
            "mirror": [plan.flip for plan in plans],
            # u lies on top of v, one frame height below it: one region holds both crops
            "flow_shape": [(height + config.crop, config.crop) for height in heights],
            "u_std": [[-FLOW_STD if plan.flip else FLOW_STD] for plan in plans],
        }
        dtypes = {"u_std": np.float32}
        arrays: dict[str, Any] = {
            name: np.repeat(np.array(rows, dtypes.get(name, np.int32)), config.frames, axis=0)
            for name, rows in by_clip.items()
        }
        for stream in config.streams:
            arrays[stream] = [self.shards.jpeg(stream, plan.clip, frame) for plan in plans for frame in plan.frames]
        return [arrays[name] for name in self.names]


def _build(source: _Source, *, device: torch.device, threads: int) -> Any:
    """The DALI pipeline: one graph for CPU and GPU, which differ in where the decoder puts its pixels."""
    config = source.sampler.config
    on_gpu = device.type == "cuda"
    pipeline = Pipeline(
        batch_size=config.batch_size * config.frames,
        num_threads=threads,
        device_id=device.index if on_gpu else None,
    )
    with pipeline:
        nodes = fn.external_source(
            source=source,
            num_outputs=len(source.names),
            batch=True,
            no_copy=True,
            dtype=[_INPUTS[name][0] for name in source.names],
            ndim=[_INPUTS[name][1] for name in source.names],
        )
        fed = dict(zip(source.names, nodes, strict=True))
        outputs: list[Any] = []
        for stream in config.streams:
            if stream == "rgb":
                outputs.append(_rgb(fed, side=config.crop, on_gpu=on_gpu))
            else:
                zero = source.shards.attributes.flow_zero
                outputs.extend(_flow(fed, side=config.crop, zero=zero, on_gpu=on_gpu))
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _rgb(fed: dict[str, Any], *, side: int, on_gpu: bool) -> Any:
    pixels_HWC = fn.decoders.image_slice(
        fed["rgb"], start=fed["start"], shape=[side, side], axes=[0, 1], **_decoder(on_gpu)
    )
    return fn.crop_mirror_normalize(
        pixels_HWC, mirror=fed["mirror"], mean=[RGB_MEAN] * 3, std=[RGB_STD] * 3, output_layout="CHW"
    )


def _flow(fed: dict[str, Any], *, side: int, zero: int, on_gpu: bool) -> list[Any]:
    codes_HWC = fn.decoders.image_slice(
        fed["flow"],
        start=fed["start"],
        shape=fed["flow_shape"],
        axes=[0, 1],
        output_type=types.GRAY,
        **_decoder(on_gpu),
    )
    # positions are relative to the room left: u is the crop at the very top, v the one at the very bottom
    return [
        fn.crop_mirror_normalize(
            codes_HWC,
            crop=[side, side],
            crop_pos_x=0.0,
            crop_pos_y=position,
            mirror=fed["mirror"],
            mean=[float(zero)],
            std=std,
            output_layout="CHW",
        )
        for position, std in ((0.0, fed["u_std"]), (1.0, [FLOW_STD]))
    ]


def _decoder(on_gpu: bool) -> dict[str, Any]:
    if not on_gpu:
        return {"device": "cpu"}
    # without fancy upsampling, which libjpeg-turbo does, chroma differs from what the CPU decodes
    return {"device": "mixed", "hw_decoder_load": HW_DECODER_LOAD, "jpeg_fancy_upsampling": True}
