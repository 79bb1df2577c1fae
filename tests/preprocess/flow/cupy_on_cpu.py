"""CuPy as it is, on a GPU that is not there: a plugin, `pytest -p tests.preprocess.flow.cupy_on_cpu`.

CuPy brings the CUDA runtime inside its library `runtime`, whose functions are found by its symbols and made to jump to
those of tests/csrc/cuda_api.cpp; that file also is the driver. Only our kernels run, on this CPU (`cuda_on_cpu`), once
the real NVRTC has compiled them for a GPU: CuPy's own arithmetic fails. For Linux on x86-64.
"""

import ctypes
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cupy_backends.cuda.api import runtime

from tests.preprocess.flow.cuda_on_cpu import COMPILER, FOLDER, library

PAGE = 4096
READ_WRITE_EXECUTE = 7
CHOSEN = ("a4", "a8", "b4", "b8", "e4", "e8", "f4", "f8")
"""Of SHAPES: those that the sizes in the tests get."""
KEPT = ("cudaGetErrorName", "cudaGetErrorString", "cudaRuntimeGetVersion")
"""Functions of the runtime that need no GPU."""


def emulate() -> ctypes.CDLL:
    """Give CuPy in this process a GPU of compute capability 9.0; returns cuda_api.cpp, compiled."""
    api = _compiled()
    api.api_use_kernels(ctypes.c_void_p(library(CHOSEN)._handle))
    for name, address in _functions(Path(runtime.__file__).resolve()).items():
        if hasattr(api, f"api_{name}"):
            _write(address, _jump(getattr(api, f"api_{name}")))
        elif name not in KEPT:
            _write(address, b"\x48\xbf" + _number(_lasting(name)) + _jump(api.api_unknown))  # mov rdi, name

    class Library(ctypes.CDLL):
        """By which CuPy loads the driver."""

        def __init__(self, name: str | None, *arguments: object, **options: object) -> None:
            super().__init__(api._name if name == "libcuda.so.1" else name, *arguments, **options)

    ctypes.CDLL = Library
    return api


def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:  # what is loaded stays, and is found again by its name
        path = Path(folder) / "cuda_api.so"
        options = ["-O1", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([COMPILER, *options, FOLDER / "cuda_api.cpp", "-o", path, "-ldl"], check=True)
        return ctypes.CDLL(str(path))


def _functions(library: Path) -> dict[str, int]:
    """Addresses in this process of what the CUDA runtime exports."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = min(int(line.partition("-")[0], 16) for line in maps if line.endswith(str(library)))
    symbols = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout
    return {name: base + int(at, 16) for at, name in re.findall(r"^(\w+) [tT] (cuda[A-Z]\w+)$", symbols, re.MULTILINE)}


def _write(address: int, code: bytes) -> None:
    first = address // PAGE * PAGE
    size = address + len(code) - first
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(first), ctypes.c_size_t(size), READ_WRITE_EXECUTE) == 0
    ctypes.memmove(address, code, len(code))


def _jump(function: Any) -> bytes:  # of ctypes
    address = ctypes.cast(function, ctypes.c_void_p).value
    return b"\x48\xb8" + _number(address) + b"\xff\xe0"  # mov rax, address; jmp rax


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _lasting(name: str) -> int:
    """Address of a C string that is never given back."""
    text = ctypes.create_string_buffer(name.encode())
    _texts.append(text)
    return ctypes.addressof(text)


_texts: list[Any] = []
API = emulate()
