"""The graph that DALI runs. On the CPU it ends with decoded regions, and `pipelines.normalise` does the rest.

One DALI sample is one JPEG: N clips run as N * T samples, so that only the frames of a window are touched.
"""

from typing import Any

import numpy as np
import torch

from pipelines.dali_source import INPUTS, Source
from pipelines.loader import RGB_MEAN, RGB_STD
from preprocess.errors import EnvironmentProblem

try:
    from nvidia.dali import Pipeline, fn, types
except ImportError as error:
    raise EnvironmentProblem(
        f"NVIDIA DALI cannot be imported ({error}); pip install 'kineflow[cuda13]', or use pipelines.TorchClipLoader"
    ) from error

_TYPES: dict[type, Any] = {np.uint8: types.UINT8, np.int32: types.INT32, np.float32: types.FLOAT}


def build(source: Source, *, device: torch.device, threads: int, hw_decoder_load: float) -> Any:
    """A pipeline that runs once for each part of `source`, with these outputs for each stream.

    Where it finishes, the network input of each crop, float32 [N * T, C, S, S]; otherwise the codes of the region that
    holds all crops, uint8 [T, H, W, 3], or [T, H, W, 1] with u over v.
    """
    config, sampler = source.config, source.reader.sampler
    on_gpu = device.type == "cuda"
    pipeline = Pipeline(
        batch_size=source.clips_a_run * sampler.longest,
        num_threads=threads,
        device_id=device.index if on_gpu else None,
        # a batch ahead of the run that the loader has
        prefetch_queue_depth=source.clips_a_batch // source.clips_a_run + 1,
        # the default, and what the batches' memory relies on
        exec_dynamic=True,
    )
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
            codes_HWC = _codes(stream, fed, whole=source.finishes, on_gpu=on_gpu, hw_decoder_load=hw_decoder_load)
            if not source.finishes:
                outputs.append(codes_HWC)
            elif stream == "rgb":
                outputs.extend(_rgb(codes_HWC, fed, side=config.crop, crops=config.crops))
            else:
                zero = source.reader.shards.attributes.flow_zero
                outputs.extend(_flow(codes_HWC, fed, side=config.crop, crops=config.crops, zero=zero))
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _codes(stream: str, fed: dict[str, Any], *, whole: bool, on_gpu: bool, hw_decoder_load: float) -> Any:
    """Decoded pictures, or the region of each that is asked for.

    On a GPU always whole pictures: nvImageCodec 0.9 crashes on some where it is to decode a region
    (NVIDIA/nvImageCodec#55), and with an nvJPEG before 13.2 it leaves regions of 4:2:0 to the CPU.
    """
    options: dict[str, Any] = {
        "output_type": types.RGB if stream == "rgb" else types.GRAY,
        # as `pipelines.decode`
        "adjust_orientation": False,
    }
    if on_gpu:
        # without fancy upsampling, which libjpeg-turbo does, chroma differs from what the CPU decodes
        options |= {"device": "mixed", "hw_decoder_load": hw_decoder_load, "jpeg_fancy_upsampling": True}
    if whole:
        return fn.decoders.image(fed[stream], **options)
    start, shape = fed[f"{stream}_start"], fed[f"{stream}_shape"]
    return fn.decoders.image_slice(fed[stream], start=start, shape=shape, axes=[0, 1], **options)


def _rgb(codes_HWC: Any, fed: dict[str, Any], *, side: int, crops: int) -> list[Any]:
    """The frames of each crop."""
    return [
        fn.crop_mirror_normalize(
            codes_HWC,
            mirror=fed["mirror"],
            output_layout="CHW",
            mean=[RGB_MEAN] * 3,
            std=[RGB_STD] * 3,
            **_crop(side, fed["place"], number),
        )
        for number in range(crops)
    ]


def _flow(codes_HWC: Any, fed: dict[str, Any], *, side: int, crops: int, zero: int) -> list[Any]:
    """The u and v of each crop."""
    # u lies on top of v: as two channels of a picture they are cut and mirrored in one go
    codes_CHW = fn.reshape(codes_HWC, shape=fed["flow_planes"], layout="CHW")
    return [
        fn.crop_mirror_normalize(
            codes_CHW,
            mirror=fed["mirror"],
            output_layout="CHW",
            mean=[float(zero)] * 2,
            std=fed["flow_std"],
            **_crop(side, fed["place"], number),
        )
        for number in range(crops)
    ]


def _crop(side: int, place: Any, number: int) -> dict[str, Any]:
    """Arguments of a crop, of those that `place` has."""
    return {"crop": [side, side], "crop_pos_y": place[2 * number], "crop_pos_x": place[2 * number + 1]}
