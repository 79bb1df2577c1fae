"""The CUDA kernels as text: which tile shapes there are, which one suits a picture, and the source to compile."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
COMPILE_OPTIONS = ("--std=c++17",)

TYPICAL_ITERATIONS = 30
"""A warp, until it converges: 24 to 33 on real pairs."""
ITERATION_CLOCKS = 0.4
"""Of a multiprocessor, a pixel: it starts 128 instructions a clock at best, and an iteration has 47 to 51."""
LOADED_BYTES, STORED_BYTES = 40, 24
"""A pixel, before and after the iterations of a launch."""
BYTES_A_CLOCK = 16
"""That a multiprocessor moves: its share of the memory's bandwidth is 15 on an H100, 21 on an H200. All of these are
estimates: no GPU was measured."""
BLOCK_OVERHEAD = 1024
"""Bytes of shared memory that CUDA takes of each block."""


@dataclass(frozen=True)
class TileShape:
    """How a block of threads covers a tile; the template parameters of `Tile` in tvl1_tile.cuh."""

    threads_x: int
    threads_y: int
    columns: int
    """Pixels a thread, across."""
    rows: int
    """Pixels a thread, down."""
    halo: int
    """Iterations a launch, and the width of the ring that neighbouring tiles both compute."""
    blocks: int
    """On a multiprocessor at once; limits the registers of a thread."""

    @property
    def name(self) -> str:
        """Name of the kernel."""
        return f"tile_{self.width}x{self.height}_threads{self.threads}_iterations{self.halo}"

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.threads_x * self.threads_y

    @property
    def width(self) -> int:
        """Pixels of a tile, halo included."""
        return self.threads_x * self.columns

    @property
    def height(self) -> int:
        """Pixels of a tile, halo included."""
        return self.threads_y * self.rows

    @property
    def shared_bytes(self) -> int:
        """Size of `Tile::Shared`."""
        data = 16 * self.width * self.height
        rows = 2 * 2 * 4 * (self.threads_y + 1) * self.width
        change = 4 * self.halo * self.threads
        return -(-(data + rows + change) // 16) * 16

    @property
    def statement(self) -> str:
        """The line of source that instantiates it."""
        numbers = (self.blocks, self.threads_x, self.threads_y, self.columns, self.rows, self.halo)
        return f"KF_TILE({self.name}, {', '.join(map(str, numbers))})"

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Tiles across and down a picture: they overlap by two halos, and have none at its edges."""
        across = -(-(width - 2 * self.halo) // (self.width - 2 * self.halo))
        down = -(-(height - 2 * self.halo) // (self.height - 2 * self.halo))
        return max(across, 1), max(down, 1)

    def pixels(self, width: int, height: int) -> int:
        """Of all tiles of a picture, those included that several compute or that lie outside."""
        across, down = self.grid(width, height)
        return across * down * self.width * self.height

    def moved_bytes(self, width: int, height: int) -> int:
        """That a launch loads and stores for a picture."""
        return LOADED_BYTES * self.pixels(width, height) + STORED_BYTES * width * height

    def together(self, shared_limit: int) -> int:
        """Blocks that a multiprocessor holds at once."""
        return min(self.blocks, (shared_limit + BLOCK_OVERHEAD) // (self.shared_bytes + BLOCK_OVERHEAD))

    def cost(self, width: int, height: int, shared_limit: int) -> float:
        """Estimated clocks of a multiprocessor for the typical iterations of a warp.

        A block computes nothing while it loads or stores, but another one on the same multiprocessor may.
        """
        launches = -(-TYPICAL_ITERATIONS // self.halo) + 1  # one to redo, see settle_pair in tvl1_settle.cuh
        computing = (TYPICAL_ITERATIONS + self.halo) * self.pixels(width, height) * ITERATION_CLOCKS
        moving = launches * self.moved_bytes(width, height) / BYTES_A_CLOCK
        return max(computing, moving, (computing + moving) / self.together(shared_limit))


BODIES = {
    "a": (16, 32, 4, 3, 1),
    "b": (16, 16, 4, 4, 1),
    "c": (16, 24, 4, 4, 1),
    "d": (16, 32, 2, 6, 1),
    "e": (16, 16, 4, 3, 2),
    "f": (16, 16, 4, 2, 2),
    "g": (16, 12, 4, 4, 2),
}
"""Threads across and down, pixels of a thread across and down, blocks. `f` fits in the 64 KB of sm_75."""
ITERATIONS = (2, 4, 6, 8)
"""A launch; a multiple of the pixels of a thread across, so that runs of pixels are aligned."""


def _shapes() -> dict[str, TileShape]:
    shapes = {}
    for letter, (threads_x, threads_y, columns, rows, blocks) in BODIES.items():
        for halo in ITERATIONS:
            shape = TileShape(threads_x, threads_y, columns, rows, halo, blocks)
            if halo % columns == 0 and min(shape.width, shape.height) > 2 * halo:
                shapes[f"{letter}{halo}"] = shape
    return shapes


SHAPES: dict[str, TileShape] = _shapes()
"""Short name to shape: body and iterations a launch."""


def choose_tile(width: int, height: int, shared_limit: int) -> TileShape:
    """The shape with the least estimated cost; depends on the size alone, so that a pair takes the same course always.

    Args:
        width: of the pyramid level, px.
        height: of the pyramid level, px.
        shared_limit: bytes of shared memory that a block may have.
    """
    fitting = [shape for shape in SHAPES.values() if shape.shared_bytes <= shared_limit]
    return min(fitting, key=lambda shape: shape.cost(width, height, shared_limit))


def source(shapes: Iterable[TileShape], *, kernels: bool = True) -> str:
    """CUDA C++ of the tiles and, unless told otherwise, of all other kernels, without includes.

    Headers are pasted in, because CuPy caches what it compiled by the text that it was given.
    """
    seen: set[str] = set()
    start = _pasted("tvl1_kernels.cuh" if kernels else "tvl1_tile.cuh", seen)
    return "\n".join([start, *(shape.statement for shape in shapes)]) + "\n"


def _pasted(name: str, seen: set[str]) -> str:
    if name in seen:
        return ""
    seen.add(name)
    text = (SOURCES / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
    return re.sub(r'#include "(.+?)"\n', lambda match: _pasted(match[1], seen), text)
