"""Short runs whose losses are kept as text, so that a change of the loop that changes what is learnt is seen.

After a change that is meant to, write them anew and look at the difference:

    python -m tests.i3d_train.golden_runs
"""

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from i3d_train.config import TrainConfig
from i3d_train.train import train
from tests.i3d_train.small_shards import noisy_clips, small_run, write_set
from tests.i3d_train.tiny_command import NAME, register

FOLDER = Path(__file__).parent / "goldens"
STEPS = 20
RUNS: dict[str, dict[str, object]] = {
    "defaults": {},
    "everything": {
        "stream": "flow",
        "accumulate": 2,
        "schedule": "cosine",
        "warmup": 0.2,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "ema": 0.9,
        "precise_bn": 2,
        "weight_decay": 1e-3,
    },
    "i3d": {"model": "i3d", "width": 0.1, "lr": 0.01, "schedule": "plateau", "patience": 1},
}
"""Name to what is not as in `small_run`."""
ONE_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
"""Environment in which all x86-64 processors add up in one order: no AVX, and MKL's portable kernels.

One thread, whatever the caller's environment says: three add up in another order, and two of these runs then differ.
The texts are the same to the last digit with and without AVX2, AVX-512 and FMA in glibc, NumPy and OpenCV, as far as
one machine can tell by forbidding them (`GLIBC_TUNABLES`, `NPY_DISABLE_CPU_FEATURES`, `OPENCV_CPU_DISABLE`).
"""


def losses_of(name: str, *, shards: Path, out: Path) -> str:
    """The environment, and one line a step or validation: its number, what it is, and the loss.

    Args:
        name: a key of `RUNS`.
        shards: eight clips to train on, three to validate.
        out: where the run may write.
    """
    lengths = {"steps": STEPS, "validate_every": 5, "checkpoint_every": STEPS}
    config: TrainConfig = replace(small_run(shards, out, model=NAME), **lengths, **RUNS[name])
    train(config)
    lines = [f"torch {torch.__version__.partition('+')[0]}, {os.uname().machine}"]
    for line in (out / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        kind = "loss" if "loss" in record else "val_loss"
        lines.append(f"{record['step']:3d} {kind} {record[kind]:.6f}")
    return "\n".join(lines) + "\n"


def write_all(folder: Path) -> None:
    """Write the text of each run into a folder."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    # oneDNN chooses its kernels by the processor, whatever the environment says
    torch.backends.mkldnn.enabled = False
    register()
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        clips = {"train": noisy_clips("train", [0, 1] * 4), "val": noisy_clips("val", [0, 1, 0])}
        shards = write_set(Path(temporary) / "shards", clips)
        for name in RUNS:
            (folder / f"{name}.txt").write_text(losses_of(name, shards=shards, out=Path(temporary) / name))


if __name__ == "__main__":
    if not os.environ.items() >= ONE_PROCESSOR.items():
        # read when PyTorch is loaded: too late for this process
        command = [sys.executable, "-m", "tests.i3d_train.golden_runs", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | ONE_PROCESSOR)
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
