"""PyTorch on a GPU that is not there: a plugin, `pytest -p tests.i3d_train.torch_on_cpu`.

Gives a PyTorch that was built without CUDA the device of tests/csrc/torch_cuda.cpp, on which the CPU computes, and puts
in the place of `torch.cuda` what this project calls of it. Device and precision of each tensor are as on a GPU; nothing
is late there, numbers are those of the CPU, and time and memory tell nothing.
"""

import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.preprocess.flow.cuda_on_cpu import COMPILER, FOLDER


def emulate() -> None:
    """Give PyTorch in this process a GPU that computes in bf16. It must not be imported before."""
    assert "torch" not in sys.modules  # it would have learnt that there is no GPU
    api = _compiled()

    import torch

    answers = {"is_available": True, "is_bf16_supported": True, "device_count": 1, "current_device": 0}
    answers |= dict.fromkeys(("_lazy_init", "manual_seed_all"))
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    for name in ("get_rng_state", "set_rng_state"):
        setattr(torch.cuda, name, getattr(torch, name))
    api.gpu_most_held.restype = ctypes.c_size_t
    torch.cuda.max_memory_allocated = lambda _: api.gpu_most_held()
    torch.amp.autocast_mode.is_autocast_available = lambda _: True
    torch.backends.cudnn.version = lambda: 92000


def _compiled() -> ctypes.CDLL:
    (torch,) = map(Path, importlib.util.find_spec("torch").submodule_search_locations)
    include, libraries = torch / "include", torch / "lib"
    with tempfile.TemporaryDirectory() as folder:  # what is loaded stays
        path = Path(folder) / "torch_cuda.so"
        options = ["-O1", "-std=c++20", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-isystem", include]
        link = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lc10", "-ltorch_cpu"]
        subprocess.run([COMPILER, *options, FOLDER / "torch_cuda.cpp", "-o", path, *link], check=True)
        return ctypes.CDLL(str(path))


emulate()
