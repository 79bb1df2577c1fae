"""How many instructions the CUDA kernels of TV-L1 take, counted in what NVRTC makes of them: no GPU is needed.

For each tile shape, the instructions of a thread for one of its pixels and one iteration, on the way that interior
pixels take, with the test of the change and without; how many it has before and after its iterations; and how many
the other kernels have. A multiprocessor starts 128 a clock: the lower limit of time.

Needs CuPy, NVRTC and `pip install nvidia-cuda-nvdisasm`.

Example:
    python benchmarks/flow_instructions.py --arch 90
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cupy_backends.cuda.libs import nvrtc

sys.path.insert(0, str(Path(__file__).parents[1]))

from preprocess.flow.cuda_kernels import COMPILE_OPTIONS, SHAPES, source

OPTIONS = (*COMPILE_OPTIONS, "-ftz=true", "--device-as-default-execution-space")
"""CuPy adds the last two."""


@dataclass(frozen=True)
class Code:
    """One kernel, disassembled."""

    instructions: list[str]
    labels: dict[str, int]
    """Name to the instruction that it stands before."""

    def target(self, at: int) -> int:
        """Where the branch `at` goes to."""
        return self.labels[re.search(r"\.L_x_\d+", self.instructions[at])[0]]

    def is_branch(self, at: int) -> bool:
        """Whether it goes to a label, maybe under a condition."""
        return re.match(r"(@!?U?P\d+ )?BRA\b.*\.L_x_", self.instructions[at]) is not None

    def count(self, word: str, first: int, end: int) -> int:
        """Instructions from `first` to `end` - 1 that are `word`."""
        return sum(word in line for line in self.instructions[first:end])

    def iterations(self) -> tuple[int, int]:
        """First and last instruction of the loop that has the most square roots."""
        loops = [
            (self.target(at), at) for at in range(len(self.instructions)) if self.is_branch(at) and self.target(at) < at
        ]
        return max(loops, key=lambda loop: self.count("MUFU.SQRT", *loop))

    def steps(self, *, tested: bool) -> list[str]:
        """What runs in one turn of that loop: all rare branches are passed over, and one of its two variants is taken.

        The compiler puts the variant that tests the change first, behind the only branch that spans a barrier.
        """
        at, last = self.iterations()
        taken = []
        while at <= last:
            line = self.instructions[at]
            taken.append(line)
            if self.is_branch(at) and self.target(at) > at:
                is_variant = self.count("BAR.SYNC", at, self.target(at)) > 0
                if not line.startswith("@") or not is_variant or not tested:
                    at = self.target(at)
                    continue
            elif self.is_branch(at):
                break
            at += 1
        return taken


def compiled(arch: str) -> bytes:
    """All kernels, for `sm_` and `arch`."""
    program = nvrtc.createProgram(source(SHAPES.values()), "kernels.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture=sm_{arch}", *OPTIONS))
    return nvrtc.getCUBIN(program) + b"\0"  # CuPy 14 leaves out the last byte, as if it ended a string


def disassembled(cubin: bytes) -> Iterator[tuple[str, Code]]:
    """Name and code of each kernel."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else []
    tools = [path for folder in folders for path in Path(folder).glob("*/bin/nvdisasm")]
    if not tools:
        sys.exit("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tools[0], "-c", file.name], check=True, capture_output=True, text=True).stdout
    for section in re.split(r"\n\s*\.section\s+\.text\.", text)[1:]:
        instructions: list[str] = []
        labels = {}
        for line in section.splitlines():
            if label := re.match(r"\s*(\.L_x_\d+):", line):
                labels[label[1]] = len(instructions)
            elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?) ;", line):
                instructions.append(instruction[1])
        yield section.split(",")[0], Code(instructions, labels)


def main() -> None:
    """Compile, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--arch",
        default="90",
        choices=("80", "86", "89", "90"),
        help="compute capability, without the dot (default: 90)",
    )
    options = parser.parse_args()
    kernels = dict(disassembled(compiled(options.arch)))
    print(f"sm_{options.arch}, NVRTC {'.'.join(map(str, nvrtc.getVersion()))}\n")
    print("tile   pixels  tested  not tested  before and after")
    for name, shape in SHAPES.items():
        code = kernels.pop(shape.name)
        first, last = code.iterations()
        pixels = shape.columns * shape.rows
        tested, plain = (len(code.steps(tested=tested)) / pixels for tested in (True, False))
        around = (len(code.instructions) - (last - first)) / pixels
        print(f"{name:6} {pixels:6} {tested:7.1f} {plain:11.1f} {around:17.1f}")
    print("\nkernel          instructions")
    for name, code in sorted(kernels.items()):
        print(f"{name:15} {len(code.instructions):12}")


if __name__ == "__main__":
    main()
