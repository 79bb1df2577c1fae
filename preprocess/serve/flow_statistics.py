"""What the flow of one clip is like: how its components spread, what is clipped, what stands still.

Shapes: H, W = pixels.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from preprocess.flow.quantise import FLOW_BOUND, dequantise
from preprocess.pixels import decode_jpeg
from preprocess.serve.clip_record import ShardClip
from preprocess.shards import Shard

STILL_PX = 0.1
"""A field whose mean magnitude is smaller shows nothing that moves."""
MOST_FIELDS = 300
"""Of a longer clip, so many are looked at, evenly spread."""
BIN_PX = 1.0
_EDGES = np.arange(-FLOW_BOUND, FLOW_BOUND + BIN_PX, BIN_PX)
_KEPT = 256  # clips; some kB each


@dataclass(frozen=True, kw_only=True)
class FlowStatistics:
    """Of the flow fields of one clip."""

    fields: int
    """Looked at."""
    fields_of_clip: int
    edges_px: tuple[float, ...]
    """Of the bins of both histograms, in pixels a frame."""
    u: tuple[int, ...]
    """Pixels in each bin."""
    v: tuple[int, ...]
    share_at_bound: float
    """Of the pixels, those with u or v at +-20 px, where flow is clipped."""
    share_still: float
    """Of the fields, those with a mean magnitude below `STILL_PX`."""
    mean_px: float
    """Magnitude, over all pixels."""
    largest_mean_px: float
    """Magnitude of the field that moves most, over its pixels."""


class StatisticsCache:
    """Statistics of the clips that were asked for last; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, FlowStatistics] = OrderedDict()

    def get(self, shard: Shard, clip: ShardClip) -> FlowStatistics:
        """Statistics of a clip of `shard`.

        Raises:
            BadShard: a field cannot be decoded.
        """
        # the checksum: a file of the same name may be another one now
        key = (shard.path, clip.row, clip.crc32["flow"])
        with self._lock:
            if (known := self._known.get(key)) is not None:
                return known
        measured = _measure(shard, clip.row)
        with self._lock:
            self._known[key] = measured
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return measured


def _measure(shard: Shard, row: int) -> FlowStatistics:
    clips = shard.clips
    height, width = int(clips.height[row]), int(clips.width[row])
    first, count = int(clips.flow_first[row]), int(clips.flow_count[row])
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_FIELDS)).round().astype(int))
    counts_u, counts_v = np.zeros(256, np.int64), np.zeros(256, np.int64)
    means_px = []
    at_bound = 0
    for number in chosen.tolist():
        codes = decode_jpeg(
            shard.jpeg("flow", first + number),
            height=2 * height,
            width=width,
            source=f"flow field {number} of the clip",
            flags=cv2.IMREAD_GRAYSCALE,
        )
        u_HW, v_HW = codes[:height], codes[height:]
        counts_u += np.bincount(u_HW.ravel(), minlength=256)
        counts_v += np.bincount(v_HW.ravel(), minlength=256)
        # 0 is no code of ours, but what JPEG makes of some 1
        at_bound += int(np.count_nonzero((u_HW <= 1) | (u_HW == 255) | (v_HW <= 1) | (v_HW == 255)))
        means_px.append(float(np.hypot(dequantise(u_HW), dequantise(v_HW)).mean()))
    pixels = len(chosen) * height * width
    return FlowStatistics(
        fields=len(chosen),
        fields_of_clip=count,
        edges_px=tuple(_EDGES.tolist()),
        u=_in_bins(counts_u),
        v=_in_bins(counts_v),
        share_at_bound=at_bound / pixels,
        share_still=sum(mean < STILL_PX for mean in means_px) / len(means_px),
        mean_px=float(np.mean(means_px)),
        largest_mean_px=max(means_px),
    )


def _in_bins(counts: np.ndarray) -> tuple[int, ...]:
    values = np.clip(dequantise(np.arange(256, dtype=np.uint8)), -FLOW_BOUND, FLOW_BOUND)
    return tuple(np.histogram(values, bins=_EDGES, weights=counts)[0].astype(int).tolist())
