"""What `preprocess download` costs beside the trimming: CPU a clip, how two workers compare with one, and memory.

A server on 127.0.0.1, in a process of its own, hands out short synthetic videos by `sendfile`. Everything measured runs
in fresh processes. One worker and two alternate, so that other work on the machine hits both alike; medians over the
rounds are printed.

- CPU: user and system time of a process, and of its children, that downloads without workers, start-up included; what
  `trim` and `inspect` take of it is added up within. Trustworthy on a shared machine.
- Workers: clips a second, without the first few of each worker, so that starting Ray and importing everything do not
  count; the seconds until the first clip are printed beside it. Wall time, so only a quiet machine gives it.
- Memory: resident set and open files of the driver and of each of two workers, every 250 of many tiny clips, with the
  slope by least squares after the first fifth. Ends at --memory-limit, and says how far it came.

Examples:
    python benchmarks/download_cpu.py --rounds 3
    python benchmarks/download_cpu.py --measure memory
"""

import multiprocessing
import os
import platform
import re
import socketserver
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.own_process import alone, resident_bytes
from preprocess import fetching, store
from preprocess.annotations import Clip
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import download
from preprocess.outcomes import ManifestEntry
from preprocess.sample import SampleConfig, make_sample
from preprocess.wanted import Wanted
from tests.crash.processes import descendants

SHORT = SampleConfig(
    videos_per_class=2, val_per_class=0, width=160, height=120, duration_s=12, clip_start_s=1, clip_end_s=11
)
TINY = SampleConfig(
    videos_per_class=1,
    val_per_class=0,
    width=64,
    height=48,
    duration_s=2,
    clip_start_s=0,
    clip_end_s=1,
    fps=Fraction(10),
)
SAMPLE_EVERY = 250
"""Clips."""
WARM_CLIPS = 4
"""Of each Ray worker."""
MEMORY_WORKERS = 2
GOAL_MS, GOAL_SPEEDUP = 50, 1.8
MEASUREMENTS = ("cpu", "workers", "memory")
COUNT = click.IntRange(1)


# --- what is measured, each in a process of its own ---------------------------------------------------------------


def serve(videos: Path, port: Connection) -> None:
    """Hand out the files of a folder in turn, whatever the number in the address; sends the port."""
    paths = sorted(videos.glob("*.mp4"))

    class Handler(socketserver.StreamRequestHandler):
        # by hand: http.server takes several times the CPU
        def handle(self) -> None:
            with suppress(ConnectionError):  # clients hang up when they have seen enough
                while request := self.rfile.readline():
                    while self.rfile.readline() not in {b"\r\n", b""}:
                        pass
                    method, address, _ = request.split()
                    self.answer(paths[int(re.sub(rb"\D", b"", address)) % len(paths)], body=method == b"GET")

        def answer(self, path: Path, *, body: bool) -> None:
            with path.open("rb") as file:
                headers = "Content-Type: video/mp4", f"Content-Length: {os.fstat(file.fileno()).st_size}"
                lines = ("HTTP/1.1 200 OK", *headers, "Accept-Ranges: bytes", "", "")
                self.connection.sendall("\r\n".join(lines).encode())
                if body:
                    self.connection.sendfile(file)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        port.send(server.server_address[1])
        server.serve_forever()


class OutOfTime(Exception):
    """The limit of a measurement has passed."""


class Watch:
    """Notes when clips finished, what the processes then held, and how busy the machine was once all was warm.

    Args:
        warm_clips: that do not count.
        limit_s: seconds after which it ends the run.
    """

    def __init__(self, warm_clips: int, *, limit_s: float) -> None:
        self.warm_clips = warm_clips
        self.ends_at = time.monotonic() + limit_s
        self.busy: list[tuple[float, float]] = []
        """CPU seconds of the whole machine, and of this process and all below it: when warm, and in the end."""
        self.finished_at: list[float] = []
        self.held: list[dict[str, tuple[float, int]]] = []
        """Every `SAMPLE_EVERY` clips: resident MiB and open files of each process."""

    def finished(self, entry: ManifestEntry, total: int) -> None:
        """A clip has its outcome."""
        if entry.outcome != "done":
            raise SystemExit(f"{entry.key} is {entry.outcome}: {entry.reason}")
        self.finished_at.append(time.monotonic())
        if len(self.finished_at) in {self.warm_clips, total}:
            self.busy.append((machine_cpu(), cpu_of_family()))
        if len(self.finished_at) % SAMPLE_EVERY == 0:
            self.held.append(held_by_family())
        if time.monotonic() > self.ends_at:
            raise OutOfTime


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What came of a download."""

    finished_s: list[float]
    """When each clip did, from the start."""
    watch: Watch
    cpu_s: float
    """Of the process and its children, its start included."""
    trim_s: float
    """Of CPU, as the next."""
    inspect_s: float


def fetch(
    config: SampleConfig, out: Path, *, port: int, clips: int, workers: int, limit_s: float = float("inf")
) -> Fetched:
    """Download so many clips of the videos of a sample."""
    span = {"time_start": config.clip_start_s, "time_end": config.clip_end_s, "split": "train"}
    wanted = tuple(
        Clip(youtube_id=f"clip_{number:06d}", label=f"label {number % 8}", line=number + 2, **span)
        for number in range(clips)
    )
    trim, inspect = add_up_cpu(fetching, "trim"), add_up_cpu(store, "inspect")
    started, watch = time.monotonic(), Watch(WARM_CLIPS * max(workers, 1), limit_s=limit_s)
    with suppress(OutOfTime):
        download(
            Wanted(sources=(), dataset=None, clips=wanted, refused=()),
            config=DownloadConfig(out=out, url_template=f"http://127.0.0.1:{port}/{{youtube_id}}.mp4"),
            workers=WorkerConfig(workers=workers),
            on_clip=watch.finished,
        )
    return Fetched(
        finished_s=[at - started for at in watch.finished_at],
        watch=watch,
        cpu_s=sum(os.times()[:4]),
        trim_s=sum(trim),
        inspect_s=sum(inspect),
    )


def add_up_cpu(module: ModuleType, name: str) -> list[float]:
    """From now on, the CPU seconds of each call of a module's function."""
    function, spent = getattr(module, name), []

    def timed(*arguments: object, **options: object) -> object:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent.append(time.process_time() - started)

    setattr(module, name, timed)
    return spent


# --- running them -------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, config: SampleConfig) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server of videos that are made here."""
    videos = make_sample(folder / f"videos-{config.width}", config=config).videos_folder
    spawn = multiprocessing.get_context("spawn")
    port, its_end = spawn.Pipe()
    process = spawn.Process(target=serve, args=(videos, its_end))
    process.start()
    its_end.close()  # or no end would be seen where it fails
    try:
        yield port.recv(), process.pid
    finally:
        process.terminate()
        process.join()


def cpu_of(pid: int) -> float:
    """CPU seconds so far of a process; 0 when there is none."""
    with suppress(OSError):
        # the fields after the name, which may hold spaces: state, parent, ...
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def cpu_of_family() -> float:
    """CPU seconds so far of this process and of all below it."""
    return sum(cpu_of(pid) for pid in (os.getpid(), *(process.pid for process in descendants(os.getpid()))))


def machine_cpu() -> float:
    """CPU seconds so far of everything on the machine."""
    user, nice, system, _, _, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def held_by_family() -> dict[str, tuple[float, int]]:
    """Resident MiB and open files of this process and of each Ray worker below it."""
    names = {os.getpid(): "driver"}
    for process in descendants(os.getpid()):
        if process.command.startswith(("ray::call", "ray::IDLE")):
            names[process.pid] = f"worker {process.pid}"
    found = {}
    for pid, name in names.items():
        with suppress(OSError):  # it may end meanwhile
            found[name] = resident_bytes(pid) / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return found


def measure_cpu(folder: Path, *, port: int, pid: int, clips: int, rounds: int) -> None:
    """CPU a clip of the whole download and of its parts."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        served = cpu_of(pid)
        fetched = alone(fetch, SHORT, folder / f"out{number}", port=port, clips=clips, workers=0)
        rest = fetched.cpu_s - fetched.trim_s
        for name, value in {
            "download": fetched.cpu_s,
            "trimming": fetched.trim_s,
            f"everything but the trimming (goal: under {GOAL_MS})": rest,
            "  of it decoding the clip once": fetched.inspect_s,
            "  of it yt-dlp, files, manifest, start-up": rest - fetched.inspect_s,
            "the server, which is not part of it": cpu_of(pid) - served,
        }.items():
            found.setdefault(name, []).append(1000 * value / clips)
    size = f"{SHORT.width}x{SHORT.height}, seconds {SHORT.clip_start_s} to {SHORT.clip_end_s} of {SHORT.duration_s}"
    print(f"\n{clips} clips of {size}; CPU ms a clip, median of {rounds} rounds [min-max]")
    for name, values in found.items():
        print(f"{name:48}{statistics.median(values):8.1f}  [{min(values):.1f}-{max(values):.1f}]", flush=True)


def measure_workers(folder: Path, *, port: int, clips: int, rounds: int) -> None:
    """Clips a second of one and of two workers."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    first: dict[int, list[float]] = {1: [], 2: []}
    others: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, rate in rates.items():
            out = folder / f"ray{workers}-{number}"
            fetched = alone(fetch, SHORT, out, port=port, clips=clips * workers, workers=workers)
            at_s, ((machine_then, ours_then), (machine_now, ours_now)) = fetched.finished_s, fetched.watch.busy
            warm = WARM_CLIPS * workers
            seconds = at_s[-1] - at_s[warm - 1]
            rate.append((len(at_s) - warm) / seconds)
            first[workers].append(at_s[0])
            others[workers].append((machine_now - machine_then - ours_now + ours_then) / seconds)
    print(f"\n{clips} clips a Ray worker; clips a second, median of {rounds} rounds [min-max]")
    for workers, rate in rates.items():
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        more = f"first clip after {statistics.median(first[workers]):.1f} s"
        print(f"{name:48}{statistics.median(rate):8.2f}  [{min(rate):.2f}-{max(rate):.2f}], {more}")
        print(f"{'  cores taken by the server and by other work':48}{statistics.median(others[workers]):8.2f}")
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"{f'two by one (goal: {GOAL_SPEEDUP} or more)':48}{statistics.median(ratios):8.2f}  each: {each}", flush=True
    )


def measure_memory(folder: Path, *, port: int, clips: int, limit_s: float) -> None:
    """Resident memory and open files of driver and workers over many clips."""
    fetched = alone(fetch, TINY, folder / "many", port=port, clips=clips, workers=MEMORY_WORKERS, limit_s=limit_s)
    held, reached = fetched.watch.held, len(fetched.finished_s)
    size = f"{TINY.width}x{TINY.height}, {TINY.clip_end_s} s of {TINY.fps} fps"
    print(f"\n{reached} of {clips} clips of {size}; {MEMORY_WORKERS} Ray workers; every {SAMPLE_EVERY} clips")
    warm = len(held) // 5
    if len(held) - warm < 2:
        raise SystemExit(f"{reached} clips are too few within {limit_s} s; give it a longer --memory-limit")
    counts = [SAMPLE_EVERY * (place + 1) for place in range(len(held))]
    # a worker that was between two clips, or replaced, is not in every sample
    for name in dict.fromkeys(name for sample in held for name in sample):
        for what, unit, column in (("resident memory", "MiB", 0), ("open files", "", 1)):
            there = [
                (count, sample[name][column]) for count, sample in zip(counts, held, strict=True) if name in sample
            ]
            steady = [(count, value) for count, value in there if count > SAMPLE_EVERY * warm]
            slope = statistics.linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 1 else float("nan")
            label = f"{name}, {what} {unit}".rstrip()
            each = " ".join(f"{count}:{value:.0f}" for count, value in there)
            print(f"{label:38}{1000 * slope:+7.2f} a 1000 clips after {SAMPLE_EVERY * warm}; {each}", flush=True)


@click.command()
@click.option(
    "--measure", multiple=True, type=click.Choice(MEASUREMENTS), default=MEASUREMENTS, help="Only this.  [repeat]"
)
@click.option("--clips", default=500, type=COUNT, show_default=True, help="Of a round of the CPU measurement.")
@click.option("--rounds", default=3, type=COUNT, show_default=True)
@click.option("--ray-clips", default=60, type=COUNT, show_default=True, help="Of a round with Ray, a worker.")
@click.option("--memory-clips", default=5000, type=COUNT, show_default=True, help="Of the memory measurement.")
@click.option("--memory-limit", default=600, type=COUNT, show_default=True, help="Seconds of it.")
def main(
    measure: tuple[str, ...], clips: int, rounds: int, ray_clips: int, memory_clips: int, memory_limit: int
) -> None:
    """Measure and print tables."""
    if ray_clips <= WARM_CLIPS:
        raise click.UsageError(f"--ray-clips must be above {WARM_CLIPS}, which do not count, got {ray_clips}")
    if memory_clips < 10 * SAMPLE_EVERY:
        raise click.UsageError(f"--memory-clips must be at least {10 * SAMPLE_EVERY}, got {memory_clips}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("yt-dlp", "av", "ray"))
    print(machine())
    print(f"Python {platform.python_version()}, {versions}; load {os.getloadavg()[0]:.1f} before the start")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"cpu", "workers"} & set(measure):
            with serving(folder, SHORT) as (port, pid):
                if "cpu" in measure:
                    measure_cpu(folder, port=port, pid=pid, clips=clips, rounds=rounds)
                if "workers" in measure:
                    measure_workers(folder, port=port, clips=ray_clips, rounds=rounds)
        if "memory" in measure:
            with serving(folder, TINY) as (port, _):
                measure_memory(folder, port=port, clips=memory_clips, limit_s=memory_limit)


if __name__ == "__main__":
    main()
