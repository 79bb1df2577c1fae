"""The feed on the CPU beside what one would write without it, on the same clips, windows, crops and flips.

Of ours, `ClipLoader` (DALI) and `TorchClipLoader` (OpenCV). Beside them torch's `DataLoader` with worker processes, as
one writes it: OpenCV on the JPEGs of the same shards, and PyAV on mp4 files of the same frames (libx264 with crf 20 and
its own defaults, so at most 250 frames between key frames). And the bare decode: OpenCV's libjpeg-turbo in a loop over
the same JPEGs, whole, in one thread, nothing else. What is delivered: float32 [B, C, T, H, W] in [-1, 1]; a row that
says uint8 delivers the decoded crops as they are, which the network would still have to convert.

Rounds go through all of them in turn, so that other work on the machine hits all alike; medians are printed. A round
ends when prefetching has come to rest, so that it holds all work for as many batches as it counts. CPU time is that of
all threads of this process and of the workers, and the figure to trust on a shared machine. How 2 threads compare with
1 is wall time, and means something on an otherwise idle machine only.

Last, the resident memory of each loader after 1,000 and after 10,000 batches of tiny clips, in a process of its own.

SHARDS is what `preprocess flow` made of a few clips; all of them are used.

Example:
    python benchmarks/feed_cpu.py SHARDS
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import click
import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.made_up_clips import write_clips
from benchmarks.own_process import alone, resident_bytes
from pipelines import LOADERS, open_loader
from pipelines.bench import bare_decode, cpu_s, endless, jpegs_of, settled
from pipelines.decode import decode_rgb
from pipelines.feed_config import FeedConfig
from pipelines.sampling import SamplePlan, Sampler
from preprocess.shards import ShardSet

WORKERS = 2
"""Processes of a DataLoader, and threads of a loader of ours."""
WARM, MANY = 1_000, 10_000
"""Batches after which memory is read."""
BARE = "bare decode"
MODES = {"rgb": cv2.IMREAD_COLOR_RGB, "flow": cv2.IMREAD_GRAYSCALE}


class Windows(Dataset):
    """Clips of an endless training, decoded in a worker."""

    def __init__(
        self, sampler: Sampler, read: Callable[[SamplePlan, str], np.ndarray], streams: tuple[str, ...], *, floats: bool
    ) -> None:
        self._sampler, self._read, self._streams, self._floats = sampler, read, streams, floats

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Streams of one clip, [C, T, H, W]."""
        plan = self._sampler.sample(*divmod(index, self._sampler.positions))
        clip = {}
        for stream in self._streams:
            clip_THWC = self._read(plan, stream)
            if plan.flip:
                clip_THWC = clip_THWC[:, :, ::-1].copy()
            clip_CTHW = torch.from_numpy(clip_THWC).permute(3, 0, 1, 2)
            if self._floats:
                clip_CTHW = (
                    clip_CTHW.float().sub_(127.5 if stream == "rgb" else 128).div_(127.5 if stream == "rgb" else 127)
                )
                if stream == "flow" and plan.flip:
                    clip_CTHW[0].neg_()
            clip[stream] = clip_CTHW
        return clip


@dataclass(frozen=True, kw_only=True)
class FromShards:
    """Windows of JPEGs, decoded with OpenCV."""

    shards: ShardSet
    crop: int

    def __call__(self, plan: SamplePlan, stream: str) -> np.ndarray:
        """uint8 [T, H, W, C]."""
        (top, left), side, frames = plan.corners[0], self.crop, []
        for jpeg in self.shards.jpegs(stream, plan.clip, plan.frames):
            image = cv2.imdecode(jpeg, MODES[stream])
            if stream == "flow":
                image = image.reshape(2, -1, image.shape[1]).transpose(1, 2, 0)
            frames.append(image[top : top + side, left : left + side])
        return np.stack(frames)


@dataclass(frozen=True, kw_only=True)
class FromVideos:
    """Windows of mp4 files, decoded with PyAV."""

    videos: list[Path]
    crop: int
    fps: Fraction

    def __call__(self, plan: SamplePlan, _stream: str) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        (top, left), side, frames = plan.corners[0], self.crop, []
        reformatter = VideoReformatter()  # `to_ndarray` with a format starts threads anew for each frame
        with av.open(self.videos[plan.clip]) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1
            container.seek(round(plan.frames[0] / self.fps / video.time_base), stream=video)
            for frame in container.decode(video):
                if round(frame.pts * video.time_base * self.fps) < plan.frames[0]:
                    continue
                rgb_HW3 = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
                frames.append(rgb_HW3[top : top + side, left : left + side])
                if len(frames) == len(plan.frames):
                    break
        return np.stack(frames)


def make_videos(shards: ShardSet, folder: Path) -> list[Path]:
    """Each clip of the shards as an mp4 file."""
    videos = []
    for clip in range(len(shards)):
        videos.append(folder / f"{clip}.mp4")
        with av.open(videos[-1], "w") as container:
            video = container.add_stream("libx264", rate=shards.attributes.fps, options={"crf": "20"})
            # 4:2:0 takes even sizes only
            video.width, video.height = (int(side[clip]) // 2 * 2 for side in (shards.clips.width, shards.clips.height))
            for number in range(int(shards.clips.rgb_count[clip])):
                frame = decode_rgb(shards, clip=clip, frame=number)[: video.height, : video.width]
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(video.encode())
    return videos


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to get batches."""

    name: str
    streams: tuple[str, ...]
    batches: Iterator[Sized]
    """Each as long as it has clips."""
    workers: tuple[int, ...] = ()
    """Their process ids."""

    def round(self, batches: int) -> tuple[float, float]:
        """Milliseconds of CPU a clip, and clips a second, over the next batches."""
        wall, cpu = time.perf_counter(), cpu_s(self.workers)
        clips = sum(len(next(self.batches)) for _ in range(batches))
        wall, cpu = settled(self.workers) - wall, cpu_s(self.workers) - cpu
        return 1000 * cpu / clips, clips / wall


def with_workers(name: str, windows: Windows, *, streams: tuple[str, ...], batch_size: int) -> Contender:
    """A DataLoader whose workers run."""
    before = {process.pid for process in multiprocessing.active_children()}
    batches = iter(DataLoader(windows, batch_size=batch_size, num_workers=WORKERS))
    pids = tuple(process.pid for process in multiprocessing.active_children() if process.pid not in before)
    rows = (batch[streams[0]] for batch in batches)
    return Contender(name=f"`DataLoader`, {name}", streams=streams, batches=rows, workers=pids)


def contenders(
    folder: Path, scratch: Path, *, split: str, frames: int, crop: int, batch_size: int, count: int
) -> list[Contender]:
    """All of them, for `count` batches each; the workers first, because DALI's threads do not survive a fork."""
    shards = ShardSet(folder, split)
    common = {"frames": frames, "crop": crop, "batch_size": batch_size}
    rgb, both = ("rgb",), ("rgb", "flow")
    samplers = {streams: Sampler(shards.clips, FeedConfig(streams=streams, **common)) for streams in (rgb, both)}
    jpegs = FromShards(shards=shards, crop=crop)
    videos = FromVideos(videos=make_videos(shards, scratch), crop=crop, fps=shards.attributes.fps)
    found = [
        with_workers(
            f"{name}, to {'float32' if floats else 'uint8'}",
            Windows(samplers[streams], read, streams, floats=floats),
            streams=streams,
            batch_size=batch_size,
        )
        for name, read, streams, floats in (
            ("cv2 on the shards", jpegs, rgb, True),
            ("cv2 on the shards", jpegs, rgb, False),
            ("PyAV on mp4", videos, rgb, True),
            ("PyAV on mp4", videos, rgb, False),
            ("cv2 on the shards", jpegs, both, True),
        )
    ]
    for streams in (rgb, both):
        for backend, threads in (("dali", WORKERS), ("dali", 1), ("torch", WORKERS)):
            loader = open_loader(
                folder, backend=backend, split=split, streams=streams, threads=threads, device="cpu", **common
            )
            keys = (batch["key"] for batch in endless(loader))
            found.append(Contender(name=_name(type(loader).__name__, threads), streams=streams, batches=keys))
        plain = open_loader(folder, backend="torch", split=split, streams=streams, device="cpu", **common)
        found.append(Contender(name=BARE, streams=streams, batches=bare_batches(plain, count)))
    return found


def _name(loader: str, threads: int) -> str:
    return f"`{loader}`, {threads} thread{'s' if threads > 1 else ''}"


def bare_batches(loader, count: int) -> Iterator[list[SamplePlan]]:
    """The plans of the first batches of a loader, each after its JPEGs were decoded."""
    places = [divmod(number, len(loader)) for number in range(count)]
    # before the clock runs
    batches = [(loader.sampler.batch(*place), jpegs_of(loader, [place])) for place in places]

    def decoded() -> Iterator[list[SamplePlan]]:
        for plans, jpegs in batches:
            bare_decode(jpegs)
            yield plans

    return decoded()


def table(measured: dict[tuple[str, ...], dict[str, list[tuple[float, float]]]]) -> str:
    """Rows as in RESULTS.md, each stream's under a head of its own."""
    lines = []
    for streams, rows in measured.items():
        name = "RGB" if streams == ("rgb",) else "RGB and flow"
        lines += [f"| {name} | CPU ms a clip | times `ClipLoader` | clips/s |", "|---|---|---|---|"]
        ours = statistics.median(cpu for cpu, _ in rows[_name("ClipLoader", WORKERS)])
        for row, found in rows.items():
            cpu, rate = (sorted(column) for column in zip(*found, strict=True))
            middle = statistics.median(cpu)
            lines.append(
                f"| {row} | {middle:.1f} ({cpu[0]:.1f} to {cpu[-1]:.1f}) | {middle / ours:.2f} | "
                f"{statistics.median(rate):.1f} ({rate[0]:.1f} to {rate[-1]:.1f}) |"
            )
        one, two = (rows[_name("ClipLoader", threads)] for threads in (1, WORKERS))
        bare = rows[BARE]
        share = statistics.median(cpu for cpu, _ in bare) / statistics.median(cpu for cpu, _ in one)
        more = statistics.median(rate for _, rate in two) / statistics.median(rate for _, rate in one)
        lines += [
            "",
            f"With 1 thread at {share:.0%} of the bare decode's rate; {WORKERS} threads {more:.2f} times 1.",
            "",
        ]
    return "\n".join(lines)


def memory(folder: Path, backend: str, seconds: float) -> tuple[float | None, float, int]:
    """Resident MB after `WARM` batches (None: not reached) and after the last, and their number."""
    feed = endless(open_loader(folder, backend=backend, frames=4, crop=32, batch_size=2, threads=2, device="cpu"))
    deadline, warm, done = time.monotonic() + seconds, None, 0
    while done < MANY and time.monotonic() < deadline:
        next(feed)
        done += 1
        if done == WARM:
            warm = resident_bytes() / 1e6
    return warm, resident_bytes() / 1e6, done


@click.command()
@click.argument("shards", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--split", default="train", show_default=True)
@click.option("--frames", default=64, show_default=True)
@click.option("--crop", default=224, show_default=True)
@click.option("--batch-size", default=4, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="One more warms up.")
@click.option("--batches", default=2, show_default=True, help="In a round.")
@click.option("--seconds", default=240.0, show_default=True, help="Start no further round after so many.")
@click.option("--memory-seconds", default=90.0, show_default=True, help="At most, for each loader.")
def main(shards, split, frames, crop, batch_size, rounds, batches, seconds, memory_seconds):
    """Measure on SHARDS and print a table."""
    began = time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        every = contenders(
            shards,
            Path(scratch),
            split=split,
            frames=frames,
            crop=crop,
            batch_size=batch_size,
            count=(rounds + 1) * batches,
        )
        measured = {streams: {} for streams in (("rgb",), ("rgb", "flow"))}
        done = 0
        for turn in range(rounds + 1):
            # one to warm up and one to measure come in any case
            if turn > 1 and time.monotonic() - began > seconds:
                break
            for one in every:
                figures = one.round(batches)
                if turn:
                    measured[one.streams].setdefault(one.name, []).append(figures)
            done = turn
            click.echo(f"round {turn} of {rounds} after {time.monotonic() - began:.0f} s", err=True)
        every.clear()
    from nvidia import dali

    versions = f"DALI {dali.__version__}, torch {torch.__version__}, OpenCV {cv2.__version__}, PyAV {av.__version__}"
    click.echo(f"{machine()}; {versions}")
    click.echo(
        f"{frames} frames of {crop}x{crop}, batch {batch_size}, {WORKERS} workers, {done} alternating rounds of "
        f"{batches} batches\n"
    )
    click.echo(table(measured))
    click.echo(f"| resident MB | after {WARM} batches | at the end |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_clips(Path(scratch) / "tiny", clips=8, frames=12, side=48)
        for backend, name in LOADERS.items():
            warm, last, done = alone(memory, folder, backend, memory_seconds)
            first = "not reached" if warm is None else f"{warm:.1f}"
            click.echo(f"| `{name}` | {first} | {last:.1f} after {done} batches |")
    click.echo(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
