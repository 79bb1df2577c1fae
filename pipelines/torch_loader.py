"""The batches of `pipelines.dali` without DALI: the oracle that it is tested against, and the fallback.

Shapes: B = rows of a batch, C = channels, T = frames, H, W = pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.decode import decode
from pipelines.loader import CHANNELS, FLOW_STD, RGB_MEAN, RGB_STD, Batch, Loader, Streams
from pipelines.reader import Sample
from pipelines.sampling import SamplePlan
from preprocess.errors import BadShard, InvalidInput
from preprocess.shards import ShardSet


class TorchClipLoader(Loader):
    """`Loader` that decodes with OpenCV on CPU threads; see there for arguments and batches."""

    def _open(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="kineflow-decode")

    def close(self) -> None:
        """See `Loader.close`."""
        super().close()
        self._pool.shutdown()

    def at(self, epoch: int, positions: Iterable[int]) -> tuple[list[SamplePlan], Batch]:
        """The rows of some positions of an epoch, whichever rank reads them, as a batch and what was planned for it.

        Args:
            epoch: from 0.
            positions: of the epoch's order, from 0.

        Raises:
            InvalidInput: whole clips of different lengths make no batch.
            BadShard: none of them can be read.
        """
        windows = range(self.config.windows)
        plans = [self.sampler.sample(epoch, position, window=window) for position in positions for window in windows]
        if len({len(plan.frames) for plan in plans if plan.frames}) > 1:
            raise InvalidInput("with frames=None clips have their own lengths and make no batch; ask for one position")
        samples, streams = self._read_plans(epoch, plans)
        if not samples:
            raise BadShard(f"none of these clips can be read: {self.skipped}")
        return [sample.plan for sample in samples], self._batch_of(samples, streams)

    def _read(self, epoch: int, number: int) -> tuple[list[Sample], Streams]:
        return self._read_plans(epoch, self.sampler.batch(epoch, number))

    def _read_plans(self, epoch: int, plans: Sequence[SamplePlan]) -> tuple[list[Sample], Streams]:
        while True:
            samples = self._reader.read(epoch, plans)
            if not samples:
                return [], {}
            streams, faults = self._decoded(samples)
            if not faults:
                return samples, {stream: out_BCTHW.to(self.device) for stream, out_BCTHW in streams.items()}
            for sample, error in faults:
                self._reader.reject(epoch, sample.plan, error)

    def _decoded(self, samples: list[Sample]) -> tuple[Streams, list[tuple[Sample, BadShard]]]:
        """The tensors on the CPU, and the samples that cannot be decoded, each once."""
        crops, frames, side = len(samples[0].plan.corners), len(samples[0].plan.frames), self.config.crop
        streams = {
            stream: buffers.take((len(samples) * crops, CHANNELS[stream], frames, side, side))
            for stream, buffers in self._buffers.items()
        }
        jobs = [
            (
                sample,
                self._pool.submit(_READERS[stream], self.shards, sample, out_BCTHW[first : first + crops].numpy()),
            )
            for first, sample in zip(range(0, len(samples) * crops, crops), samples, strict=True)
            for stream, out_BCTHW in streams.items()
        ]
        faults: dict[int, tuple[Sample, BadShard]] = {}
        for sample, job in jobs:
            error = job.exception()
            if isinstance(error, BadShard):
                faults.setdefault(sample.plan.position * self.config.windows + sample.plan.window, (sample, error))
            elif error is not None:
                raise error
        return streams, list(faults.values())


def _read_rgb(shards: ShardSet, sample: Sample, out_VCTHW: np.ndarray) -> None:
    plan = sample.plan
    for t, (frame, jpeg) in enumerate(zip(plan.decoded, sample.jpegs["rgb"], strict=True)):
        pixels_HWC = decode(jpeg, shards, stream="rgb", clip=plan.clip, frame=frame)
        for view, crop_CHW in enumerate(_cuts(pixels_HWC.transpose(2, 0, 1), plan, out_VCTHW.shape[-1])):
            # a looped clip shows the same frame again after as many as it has
            out_VCTHW[view, :, t :: len(plan.decoded)] = _normalise(crop_CHW, mean=RGB_MEAN, std=RGB_STD)[:, None]


def _read_flow(shards: ShardSet, sample: Sample, out_VCTHW: np.ndarray) -> None:
    plan, zero = sample.plan, shards.attributes.flow_zero
    for t, (frame, jpeg) in enumerate(zip(plan.decoded, sample.jpegs["flow"], strict=True)):
        stacked = decode(jpeg, shards, stream="flow", clip=plan.clip, frame=frame)
        codes_2HW = stacked.reshape(2, -1, stacked.shape[1])
        for view, (u_HW, v_HW) in enumerate(_cuts(codes_2HW, plan, out_VCTHW.shape[-1])):
            out_VCTHW[view, 0, t :: len(plan.decoded)] = _normalise(
                u_HW, mean=zero, std=-FLOW_STD if plan.flip else FLOW_STD
            )
            out_VCTHW[view, 1, t :: len(plan.decoded)] = _normalise(v_HW, mean=zero, std=FLOW_STD)
    # JPEG turns a code 1 beside others into 0 now and then, which lies outside
    np.clip(out_VCTHW, -1, 1, out=out_VCTHW)


def _cuts(pixels_CHW: np.ndarray, plan: SamplePlan, side: int) -> list[np.ndarray]:
    cuts_CHW = [pixels_CHW[:, top : top + side, left : left + side] for top, left in plan.corners]
    return [cut_CHW[:, :, ::-1] for cut_CHW in cuts_CHW] if plan.flip else cuts_CHW


def _normalise(pixels: np.ndarray, *, mean: float, std: float) -> np.ndarray:
    return (pixels - np.float32(mean)) * (np.float32(1) / np.float32(std))


_READERS: dict[str, Callable[[ShardSet, Sample, np.ndarray], None]] = {
    "rgb": _read_rgb,
    "flow": _read_flow,
}
