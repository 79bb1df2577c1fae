"""The CUDA kernels as text: which tile shapes there are, which one suits a picture, and the source to compile."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
COMPILE_OPTIONS = ("--std=c++17",)

TYPICAL_ITERATIONS = 30
"""A warp, until it converges: 24 to 33 on real pairs."""
ITERATION_COST = 0.45
LOAD_COST = 4.0
"""Clocks of one multiprocessor a pixel: estimates from instruction counts and memory bandwidth, not measurements."""


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
        columns = 2 * 2 * 4 * self.height * (self.threads_x + 1)
        change = 4 * self.halo * self.threads
        return -(-(data + rows + columns + change) // 16) * 16

    @property
    def statement(self) -> str:
        """The line of source that instantiates it."""
        numbers = (self.blocks, self.threads_x, self.threads_y, self.columns, self.rows, self.halo)
        return f"KF_TILE({self.name}, {', '.join(map(str, numbers))})"

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Tiles across and down a picture."""
        inner_width, inner_height = self.width - 2 * self.halo, self.height - 2 * self.halo
        return -(-width // inner_width), -(-height // inner_height)

    def cost(self, width: int, height: int) -> float:
        """Estimated clocks of a multiprocessor for the typical iterations of a warp."""
        across, down = self.grid(width, height)
        launches = -(-TYPICAL_ITERATIONS // self.halo) + 1  # one to redo, see settle_pair in tvl1_settle.cuh
        clocks = (TYPICAL_ITERATIONS + self.halo) * ITERATION_COST + launches * LOAD_COST
        return across * down * self.width * self.height * clocks


BODIES = {
    "a": (16, 32, 4, 3, 1),
    "b": (16, 16, 4, 4, 1),
    "c": (16, 24, 4, 4, 1),
    "d": (16, 32, 2, 6, 1),
    "e": (16, 16, 4, 3, 2),
    "f": (16, 16, 4, 2, 2),
}
"""Threads across and down, pixels of a thread across and down, blocks. `f` fits in the 64 KB of sm_75."""
ITERATIONS = (2, 4, 6, 8)
"""A launch."""


def _shapes() -> dict[str, TileShape]:
    shapes = {}
    for letter, (threads_x, threads_y, columns, rows, blocks) in BODIES.items():
        for halo in ITERATIONS:
            shape = TileShape(threads_x, threads_y, columns, rows, halo, blocks)
            if min(shape.width, shape.height) > 2 * halo:
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
    return min(fitting, key=lambda shape: shape.cost(width, height))


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
