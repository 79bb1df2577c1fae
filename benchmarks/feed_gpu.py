"""The feed on a GPU: is it right, how many clips a second, and how long does training of I3D wait for it.

One command, under 8 minutes. It makes shards of its own (340x256, JPEG quality 90 and 95) in a temporary folder, which
has to be a fast one: everything is read from the page cache. First DALI's batches on the GPU are compared with OpenCV's
on the CPU; what makes a wrong one is not measured. Then it measures, in alternating rounds, medians:

- I3D's training steps in bf16 on clips that already lie on the GPU, and on clips that are fed: how much longer a step
  takes, and how long the loop stood in `next(loader)`
- clips/s of RGB without the GPU, with 1 to 8 threads
- clips/s of RGB, flow and both, with none, DALI's default part and all of the JPEGs offered to the hardware JPEG engine
  (of A100 and H100; where there is none, the three are alike)

`--dry` runs all of it on the CPU at toy size, to see that the script works; its figures mean nothing.

Example:
    python benchmarks/feed_gpu.py --seconds 420
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.made_up_clips import write_clips
from benchmarks.rows import Row, measure
from i3d_train.models import build
from pipelines import Batch, ClipLoader, TorchClipLoader
from pipelines.bench import compare, endless, median
from pipelines.dali import HW_DECODER_LOAD
from preprocess.errors import KineflowError
from preprocess.shards import Index

QUALITIES = (90, 95)
STREAMS = {"RGB": ("rgb",), "flow": ("flow",), "both": ("rgb", "flow")}
DEFAULT = "engine, default part"
HARDWARE = {"no engine": 0.0, DEFAULT: HW_DECODER_LOAD, "engine, all": 1.0}
WRONG_MEAN = 1.0
"""Mean difference of a frame to that of the CPU, in codes of 255, that is no rounding: another frame, crop, mirror or
chroma. The largest difference of a pixel is printed; the tests allow 2."""
CPU_THREADS = (1, 2, 4, 8)
ROUNDS = 3
PREFETCHED = 2
"""Batches that lie ready when a round begins."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large everything is."""

    device: str = "cuda"
    side: int = 256
    """Short side of a frame; the other is a third longer."""
    crop: int = 224
    frames: int = 64
    stored: int = 100
    """Frames of a clip."""
    clips: int = 32
    batch: int = 16
    batches: int = 24
    """In a round."""
    train_batch: int = 8
    steps: int = 20
    model_width: float = 1.0


DRY = Size(
    device="cpu",
    side=48,
    crop=32,
    frames=16,
    stored=20,
    clips=4,
    batch=2,
    batches=2,
    train_batch=2,
    steps=2,
    model_width=0.125,
)


def make_shards(folder: Path, size: Size) -> dict[int, Path]:
    """Two shards of each quality."""
    options = {"clips": size.clips // 2, "frames": size.stored, "side": size.side, "shards": 2}
    return {quality: write_clips(folder / str(quality), quality=quality, **options) for quality in QUALITIES}


def loader_of(shards: Path, size: Size, threads: int, **options: Any) -> ClipLoader:
    """DALI on the device of `size`."""
    given = {"frames": size.frames, "crop": size.crop, "batch_size": size.batch, "threads": threads}
    return ClipLoader(shards, device=size.device, **{**given, **options})


def wait(size: Size) -> None:
    """Until the device has done everything."""
    if size.device == "cuda":
        torch.cuda.synchronize()


def begin_afresh(batch: Callable[[], Any], size: Size) -> None:
    """Throw away what was prefetched while something else was measured, and wait."""
    for _ in range(PREFETCHED):
        batch()
    wait(size)


class Wrong(Exception):
    """A batch is not what it should be."""


def check(shards: dict[int, Path], size: Size, threads: int, hardware: dict[str, float]) -> Iterator[Row]:
    """DALI here beside OpenCV on the CPU; leaves in `hardware` what gives no frame that differs by more than rounding.

    Raises:
        Wrong: something was taken out.
    """
    options = {"frames": size.frames, "crop": size.crop, "batch_size": size.batch, "device": "cpu", "seed": 1}
    expected = {quality: next(iter(TorchClipLoader(folder, **options))) for quality, folder in shards.items()}
    asked = dict(hardware)
    for name, load in asked.items():
        for quality, folder in shards.items():
            row = f"quality {quality}, {name}: largest difference"
            try:
                found = next(iter(loader_of(folder, size, threads, hw_decoder_load=load, seed=1)))
                yield row, *compared(found, expected[quality])
            except (Wrong, KineflowError, RuntimeError) as error:
                yield row, "WRONG", str(error)
                hardware.pop(name, None)
    if wrong := [name for name in asked if name not in hardware]:
        raise Wrong(f"not measured: {'; '.join(wrong)}")


def compared(found: Batch, expected: Batch) -> tuple[str, str]:
    """The largest difference, and the mean one of the worst frame.

    Raises:
        Wrong: it is no rounding.
    """
    if found["key"] != expected["key"]:
        raise Wrong(f"{found['key']} instead of {expected['key']}")
    differences = {stream: (found[stream].cpu() - expected[stream]).abs_().mul_(127) for stream in ("rgb", "flow")}
    mean = {stream: float(codes.mean(dim=(1, 3, 4)).max()) for stream, codes in differences.items()}
    if not max(mean.values()) <= WRONG_MEAN:
        raise Wrong(f"a frame differs from the CPU by {mean} on average")
    largest = max(float(codes.max()) for codes in differences.values())
    return f"{largest:.2f} codes", f"worst frame: rgb {mean['rgb']:.4f}, flow {mean['flow']:.4f}"


def rates(
    shards: dict[int, Path], size: Size, threads: int, hardware: dict[str, float], deadline: float
) -> Iterator[Row]:
    """Clips a second of each quality and stream, the parts of the hardware engine in turns."""
    for quality, folder in shards.items():
        for streams, names in STREAMS.items():
            if time.monotonic() > deadline:
                yield f"quality {quality}, {streams}", "not measured", "out of time"
                continue
            feeds = {
                name: endless(loader_of(folder, size, threads, streams=names, hw_decoder_load=load))
                for name, load in hardware.items()
            }
            found: dict[str, list[float]] = {name: [] for name in feeds}
            for turn in range(ROUNDS + 1):
                if turn > 1 and time.monotonic() > deadline:
                    break
                for name, feed in feeds.items():
                    begin_afresh(feed.__next__, size)
                    began = time.perf_counter()
                    for _ in range(size.batches):
                        next(feed)
                    wait(size)
                    if turn:
                        found[name].append(size.batches * size.batch / (time.perf_counter() - began))
            for name, measured in found.items():
                remark = f"{min(measured):.0f} to {max(measured):.0f}, batch {size.batch}"
                yield f"quality {quality}, {streams}, {name}", f"{statistics.median(measured):.1f} clips/s", remark


def on_cpu(shards: Path, size: Size, deadline: float) -> Iterator[Row]:
    """Clips a second of RGB without a GPU, by threads: more of them should help where there are cores."""
    if time.monotonic() > deadline:
        yield "RGB on the CPU", "not measured", "out of time"
        return
    loaders = [
        loader_of(shards, replace(size, device="cpu", batch=4), threads, streams=("rgb",))
        for threads in CPU_THREADS
        if threads <= (os.cpu_count() or 1)
    ]
    comparison = compare(*loaders, rounds=ROUNDS, batches=8)
    for threads, rounds in comparison.feeds.items():
        remark = (
            f"{comparison.speedup(threads):.2f} times 1, {comparison.share_of_bare(threads):.0%} of the bare decode"
        )
        yield f"RGB on the CPU, {threads} threads", f"{median(rounds, 'clips_s'):.1f} clips/s", remark


def training(shards: Path, size: Size, threads: int, hardware: dict[str, float], deadline: float) -> Iterator[Row]:
    """I3D's steps on clips that are there already, and on clips that are fed, in turns."""
    if not hardware:
        return
    for stream in ("rgb", "flow"):
        if time.monotonic() > deadline:
            yield f"I3D {stream}", "not measured", "out of time"
            continue
        step = train_step(stream, size)
        load = hardware.get(DEFAULT, next(iter(hardware.values())))
        loader = loader_of(shards, size, threads, streams=(stream,), batch_size=size.train_batch, hw_decoder_load=load)
        feed = endless(loader)
        here = next(feed)
        bare, fed, waited = [], [], []
        for turn in range(ROUNDS + 1):
            alone, _ = seconds_a_step(lambda here=here: here, step, stream, size)
            together, stood = seconds_a_step(lambda feed=feed: next(feed), step, stream, size)
            if turn:
                bare.append(alone)
                fed.append(together)
                waited.append(stood)
        alone, together, stood = (statistics.median(each) for each in (bare, fed, waited))
        batch = f"batch {size.train_batch}, {size.frames} frames"
        yield f"I3D {stream}, clips on the device", f"{size.train_batch / alone:.1f} clips/s", batch
        yield f"I3D {stream}, fed", f"{size.train_batch / together:.1f} clips/s", batch
        yield f"I3D {stream}, step longer by", f"{(together - alone) / alone:.1%}", f"of {1000 * alone:.1f} ms"
        yield f"I3D {stream}, step spent in next(loader)", f"{stood / together:.1%}", f"of {1000 * together:.1f} ms"


def seconds_a_step(
    clips: Callable[[], Any], step: Callable[[torch.Tensor, torch.Tensor], None], stream: str, size: Size
) -> tuple[float, float]:
    """Of a step, and of waiting for its clips."""
    begin_afresh(clips, size)
    began, stood = time.perf_counter(), 0.0
    for _ in range(size.steps):
        asked = time.perf_counter()
        batch = clips()
        stood += time.perf_counter() - asked
        step(batch[stream], batch["label"])
        # `i3d_train run` does for the loss; otherwise a feed that waits for anything would wait for this step
        wait(size)
    return (time.perf_counter() - began) / size.steps, stood / size.steps


def train_step(stream: str, size: Size) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Forward, backward and update of I3D with 400 classes, as `i3d_train run` does in bf16."""
    torch.backends.cudnn.benchmark = size.device == "cuda"
    model = build("i3d", num_classes=400, stream=stream, width=size.model_width).to(size.device).train()
    model = model.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(clips_BCTHW: torch.Tensor, label_B: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(size.device, torch.bfloat16):
            logits_BK = model(clips_BCTHW.contiguous(memory_format=torch.channels_last_3d))
            loss = torch.nn.functional.cross_entropy(logits_BK.float(), label_B)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Make, check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=420, help="start no further measurement after this many")
    parser.add_argument("--threads", type=int, default=min(16, os.cpu_count() or 1), help="of DALI")
    parser.add_argument("--batch-size", type=int, help="of the rates")
    parser.add_argument("--train-batch-size", type=int, help="of I3D's steps")
    parser.add_argument("--dry", action="store_true", help="toy size on the CPU; the figures mean nothing")
    options = parser.parse_args()
    size = DRY if options.dry else Size()
    size = replace(
        size, batch=options.batch_size or size.batch, train_batch=options.train_batch_size or size.train_batch
    )
    if size.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU that this build of torch can use; --dry runs on the CPU")
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder), size)
        for quality, made in shards.items():
            info = Index.read(made).shards[0]
            each = info.bytes / info.clips / size.stored / 1000
            rows.append((f"quality {quality}: frame and its flow", f"{each:.1f} kB", "as JPEGs"))
        print(f"shards after {time.monotonic() - started:.0f} s", flush=True)
        hardware = dict(HARDWARE)
        sections = {
            "check": check(shards, size, options.threads, hardware),
            "training": training(shards[95], size, options.threads, hardware, started + 0.3 * options.seconds),
            "on the CPU": on_cpu(shards[95], size, started + 0.5 * options.seconds),
            "rates": rates(shards, size, options.threads, hardware, started + options.seconds),
        }
        complete = measure(sections, rows)
    if size.device == "cuda":
        where = torch.cuda.get_device_name()
    else:
        where = f"{platform.machine()}, DRY RUN: figures mean nothing"
    from nvidia import dali

    versions = f"DALI {dali.__version__}, torch {torch.__version__}"
    print(f"\n{where}; {os.cpu_count()} cores, {options.threads} threads; {versions}")
    print(f"short side {size.side}, {size.frames} frames of {size.crop}x{size.crop}")
    for name, value, remark in rows:
        print(f"{name:52s} {value:>18s}  {remark}")
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(not complete)


if __name__ == "__main__":
    main()
