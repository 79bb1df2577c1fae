"""A batch of frame pairs in device memory: its pyramid, its buffers, and the struct that tells kernels of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.flow.frames import MIN_SIDE
from preprocess.flow.params import Tvl1Params

ALIGNMENT = 256
"""Bytes, of buffers."""

LEVEL = np.dtype([("width", "i4"), ("height", "i4"), ("stride", "i4"), ("unused", "i4"), ("plane", "i8")])
BATCH = np.dtype(
    [
        ("level", LEVEL),
        ("from", LEVEL),
        ("frames", "u8"),
        ("image", "u8"),
        ("from_image", "u8"),
        ("pair_frames", "u8"),
        ("flow", "u8", 2),
        ("dual", "u8", 2),
        ("data", "u8"),
        ("change", "u8"),
        ("active", "u8"),
        ("active_count", "u8"),
        ("flow_side", "u8"),
        ("dual_side", "u8"),
        ("redo", "u8"),
        ("iterations", "u8"),
        ("flow_out", "u8"),
        ("codes_out", "u8"),
        ("spacing", "i8"),
        ("pairs", "i4"),
        ("tiles", "i4"),
        ("zero_outside", "i4"),
        ("most_along", "f4"),
        ("tau", "f4"),
        ("tau_theta", "f4"),
        ("largest_change", "f4"),
        ("cubic", "f4"),
        ("scale_x", "f8"),
        ("scale_y", "f8"),
        ("flow_scale", "f4"),
        ("unused", "i4"),
    ]
)
"""`struct Batch` of tvl1_batch.cuh, field by field; pointers as integers."""

TURN_FLOW, TURN_DUAL, TEST_CHANGE, TESTED_SHIFT = 1, 2, 4, 8
"""Bits of `flags`, as in tvl1_batch.cuh."""


@dataclass(frozen=True)
class Level:
    """Size of one level of the pyramid, px."""

    width: int
    height: int

    @property
    def stride(self) -> int:
        """Elements from one row to the next: whole 32-byte sectors."""
        return -(-self.width // 8) * 8

    @property
    def plane(self) -> int:
        """Elements of a plane."""
        return self.stride * self.height

    @property
    def struct(self) -> tuple[int, int, int, int, int]:
        """Values of LEVEL."""
        return self.width, self.height, self.stride, 0, self.plane


def pyramid(width: int, height: int, params: Tvl1Params) -> list[Level]:
    """Sizes from fine to coarse, each `scale_step` of the one before, rounded half to even as OpenCV does."""
    levels = [Level(width, height)]
    while len(levels) < params.scales:
        level = Level(round(levels[-1].width * params.scale_step), round(levels[-1].height * params.scale_step))
        if min(level.width, level.height) < MIN_SIDE:
            break
        levels.append(level)
    return levels


@dataclass(frozen=True)
class Capacity:
    """How much a batch may hold, and where its buffers lie in one block of device memory."""

    levels: list[Level]
    pairs: int
    frames: int
    largest_change: int
    """Elements of `change` a pair, at most: tested iterations times tiles."""

    @property
    def spacing(self) -> int:
        """Elements from the flow of one pair to that of the next."""
        return 2 * self.levels[0].plane

    def buffers(self) -> dict[str, tuple[int, np.dtype[Any]]]:
        """Name to size in elements and type."""
        pixels = self.levels[0].width * self.levels[0].height
        state = self.pairs * self.spacing
        real, whole, byte = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)
        return {
            "frames": (self.frames * pixels, byte),
            **{f"image{index}": (4 * self.frames * level.plane, real) for index, level in enumerate(self.levels)},
            "pair_frames": (2 * self.pairs, whole),
            "flow0": (state, real),
            "flow1": (state, real),
            "dual0": (2 * state, real),
            "dual1": (2 * state, real),
            "data": (2 * state, real),
            "change": (self.largest_change * self.pairs, real),
            "active": (self.pairs, whole),
            "active_count": (1, whole),
            "flow_side": (self.pairs, whole),
            "dual_side": (self.pairs, whole),
            "redo": (self.pairs, whole),
            "iterations": (len(self.levels) * self.pairs, whole),
            "out": (2 * self.pairs * pixels, real),
        }

    @property
    def bytes(self) -> int:
        """Of all buffers."""
        return sum(_aligned(size * dtype.itemsize) for size, dtype in self.buffers().values())

    def views(self, memory: Any) -> dict[str, Any]:  # a NumPy or CuPy array
        """The buffers, as typed views of uint8 `memory`."""
        views, at = {}, 0
        for name, (size, dtype) in self.buffers().items():
            views[name] = memory[at : at + size * dtype.itemsize].view(dtype)
            at += _aligned(size * dtype.itemsize)
        return views


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
