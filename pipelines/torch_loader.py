"""The batches of `pipelines.dali` without DALI: the oracle that it is tested against, and the fallback.

Shapes: B = clips of a batch, C = channels, T = frames, H, W = pixels.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pipelines.decode import decode_flow, decode_rgb
from pipelines.loader import FLOW_STD, RGB_MEAN, RGB_STD, Loader, Streams, new_stream
from pipelines.sampling import SamplePlan
from preprocess.shards import ShardSet


class TorchClipLoader(Loader):
    """`Loader` that decodes with OpenCV on CPU threads; see there for arguments and batches."""

    def _open(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="kineflow-decode")

    def _read(self, epoch: int, number: int) -> tuple[list[SamplePlan], Streams]:
        plans = self.sampler.batch(epoch, number)
        streams = {
            stream: new_stream(stream, self.config, clips=len(plans), device=torch.device("cpu"))
            for stream in self.config.streams
        }
        jobs = [
            self._pool.submit(_READERS[stream], self.shards, plan, out_CTHW.numpy())
            for stream, out_BCTHW in streams.items()
            for plan, out_CTHW in zip(plans, out_BCTHW, strict=True)
        ]
        for job in jobs:
            job.result()
        return plans, {stream: out_BCTHW.to(self.device) for stream, out_BCTHW in streams.items()}


def _read_rgb(shards: ShardSet, plan: SamplePlan, out_CTHW: np.ndarray) -> None:
    for t, frame in enumerate(plan.frames):
        pixels_CHW = decode_rgb(shards, clip=plan.clip, frame=frame).transpose(2, 0, 1)
        out_CTHW[:, t] = _normalise(_cut(pixels_CHW, plan, out_CTHW.shape[-1]), mean=RGB_MEAN, std=RGB_STD)


def _read_flow(shards: ShardSet, plan: SamplePlan, out_CTHW: np.ndarray) -> None:
    zero = shards.attributes.flow_zero
    for t, frame in enumerate(plan.frames):
        u_HW, v_HW = _cut(decode_flow(shards, clip=plan.clip, frame=frame), plan, out_CTHW.shape[-1])
        out_CTHW[0, t] = _normalise(u_HW, mean=zero, std=-FLOW_STD if plan.flip else FLOW_STD)
        out_CTHW[1, t] = _normalise(v_HW, mean=zero, std=FLOW_STD)
    # JPEG turns a code 1 beside others into 0 now and then, which lies outside
    np.clip(out_CTHW, -1, 1, out=out_CTHW)


def _cut(pixels_CHW: np.ndarray, plan: SamplePlan, side: int) -> np.ndarray:
    crop_CHW = pixels_CHW[:, plan.top : plan.top + side, plan.left : plan.left + side]
    return crop_CHW[:, :, ::-1] if plan.flip else crop_CHW


def _normalise(pixels: np.ndarray, *, mean: float, std: float) -> np.ndarray:
    return (pixels - np.float32(mean)) * (np.float32(1) / np.float32(std))


_READERS: dict[str, Callable[[ShardSet, SamplePlan, np.ndarray], None]] = {
    "rgb": _read_rgb,
    "flow": _read_flow,
}
