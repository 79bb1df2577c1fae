"""What `preprocess download` costs beside the trimming: CPU a clip, how two workers compare with one, and memory.

A server on 127.0.0.1, in a process of its own, hands out short synthetic videos by `sendfile`. Everything measured runs
in fresh processes. One worker and two alternate, so that other work on the machine hits both alike; medians over the
rounds are printed.

- CPU: user and system time of a process, and of its children, that downloads without workers, start-up included; what
  `trim` and `inspect` take of it is added up within. Trustworthy on a shared machine.
- Workers: clips a second, without the first few of each worker, so that starting Ray and importing everything do not
  count; the seconds until the first clip are printed beside it. Wall time, so only a quiet machine gives it.
- Memory: resident set and open files of a process that downloads many tiny clips, every 250 clips.

Example:
    python benchmarks/download_cpu.py --rounds 3
"""

import json
import os
import platform
import re
import resource
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import click

from preprocess import fetching, store
from preprocess.annotations import Clip
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import Silent, download
from preprocess.outcomes import ManifestEntry
from preprocess.sample import SampleConfig, make_sample
from preprocess.wanted import Wanted

SHORT = SampleConfig(
    videos_per_class=2, val_per_class=0, width=160, height=120, duration_s=12, clip_start_s=1, clip_end_s=11
)
TINY = SampleConfig(
    videos_per_class=1, val_per_class=0, width=64, height=48, duration_s=3, clip_start_s=0, clip_end_s=2
)
SAMPLE_EVERY = 250
"""Clips."""
WARM_CLIPS = 4
"""Of each Ray worker."""
GOAL_MS, GOAL_SPEEDUP = 50, 1.8
FOLDER, COUNT = click.Path(file_okay=False, path_type=Path), click.IntRange(0)


# --- what is measured, each in a process of its own ---------------------------------------------------------------


@click.group(invoke_without_command=True)
@click.option("--clips", default=500, type=COUNT, show_default=True, help="Of a round of the CPU measurement.")
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--ray-clips", default=60, type=COUNT, show_default=True, help="Of a round with Ray, a worker.")
@click.option("--memory-clips", default=5000, type=COUNT, show_default=True, help="Of the memory measurement.")
@click.pass_context
def main(context: click.Context, clips: int, rounds: int, ray_clips: int, memory_clips: int) -> None:
    """Measure and print tables; 0 clips leave a measurement out."""
    if 0 < ray_clips <= WARM_CLIPS:
        raise click.UsageError(f"--ray-clips must be above {WARM_CLIPS}, which do not count, got {ray_clips}")
    if 0 < memory_clips < SAMPLE_EVERY:
        raise click.UsageError(f"--memory-clips must be at least {SAMPLE_EVERY}, got {memory_clips}")
    if context.invoked_subcommand is None:
        print_machine()
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), clips=clips, rounds=rounds, ray_clips=ray_clips, memory_clips=memory_clips)


@main.command(hidden=True)
@click.argument("videos", type=FOLDER)
def serve(videos: Path) -> None:
    """Hand out the files of VIDEOS in turn, whatever the number in the address; print the port."""
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
        print(server.server_address[1], flush=True)
        server.serve_forever()


class Watch(Silent):
    """Notes when clips finished, what the process then held, and how busy the machine was once all was warm."""

    def __init__(self, warm_clips: int) -> None:
        self.warm_clips = warm_clips
        self.busy: list[tuple[float, float]] = []
        """CPU seconds of the whole machine, and of this process and all below it: when warm, and in the end."""
        self.finished_at: list[float] = []
        self.held: list[tuple[int, float, int]] = []
        """Clips, resident MiB, open files."""

    def finished(self, entry: ManifestEntry, total: int) -> None:
        """A clip has its outcome."""
        if entry.outcome != "done":
            raise SystemExit(f"{entry.key} is {entry.outcome}: {entry.reason}")
        self.finished_at.append(time.monotonic())
        if len(self.finished_at) in {self.warm_clips, total}:
            self.busy.append((machine_cpu(), sum(map(cpu_of, family_of(os.getpid())))))
        if len(self.finished_at) % SAMPLE_EVERY == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(list(Path("/proc/self/fd").iterdir()))
            self.held.append((len(self.finished_at), pages * resource.getpagesize() / 2**20, files))


@main.command(hidden=True)
@click.argument("port", type=int)
@click.argument("seconds", type=(int, int))
@click.argument("count", type=int)
@click.argument("workers", type=int)
@click.argument("out", type=FOLDER)
def fetch(port: int, seconds: tuple[int, int], count: int, workers: int, out: Path) -> None:
    """Download COUNT clips; print when they finished and what the process held, as JSON."""
    clips = tuple(
        Clip(
            youtube_id=f"clip_{number:06d}",
            time_start=seconds[0],
            time_end=seconds[1],
            split="train",
            label=f"label {number % 8}",
            line=number + 2,
        )
        for number in range(count)
    )
    spent = {"trim": add_up_cpu(fetching, "trim"), "inspect": add_up_cpu(store, "inspect")}
    started, watch = time.monotonic(), Watch(WARM_CLIPS * max(workers, 1))
    download(
        Wanted(sources=(), dataset=None, clips=clips, refused=()),
        config=DownloadConfig(out=out, url_template=f"http://127.0.0.1:{port}/{{youtube_id}}.mp4"),
        workers=WorkerConfig(workers=workers),
        observer=watch,
    )
    finished_s = [at - started for at in watch.finished_at]
    found = {"finished_s": finished_s, "held": watch.held, "busy": watch.busy}
    print(json.dumps(found | {name: sum(each) for name, each in spent.items()}))


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


def run(*arguments: object) -> tuple[str, float]:
    """What a command of this file prints, and the CPU seconds of its process and children."""
    command = [sys.executable, __file__, *map(str, arguments)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return output, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def server(videos: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a running server."""
    with subprocess.Popen(
        [sys.executable, __file__, "serve", str(videos)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def cpu_of(pid: int) -> float:
    """CPU seconds so far of a process; 0 when there is none."""
    with suppress(OSError):
        return sum(map(int, stat_of(pid)[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def machine_cpu() -> float:
    """CPU seconds so far of everything on the machine."""
    user, nice, system, _, _, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def family_of(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            children.setdefault(int(stat_of(int(path.name))[1]), []).append(int(path.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def measure(folder: Path, *, clips: int, rounds: int, ray_clips: int, memory_clips: int) -> None:
    """Make the videos, run everything, print."""
    made = {}
    for name, config in (("short", SHORT), ("tiny", TINY)):
        made[name] = make_sample(folder / name, config=config).videos_folder
    with server(made["short"]) as (port, pid):
        if clips:
            measure_cpu(folder, port=port, pid=pid, clips=clips, rounds=rounds)
        if ray_clips:
            measure_workers(folder, port=port, clips=ray_clips, rounds=rounds)
    if memory_clips:
        with server(made["tiny"]) as (port, _):
            measure_memory(folder, port=port, clips=memory_clips)


def measure_cpu(folder: Path, *, port: int, pid: int, clips: int, rounds: int) -> None:
    """CPU a clip of the whole download and of its parts."""
    seconds = SHORT.clip_start_s, SHORT.clip_end_s
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        served = cpu_of(pid)
        output, whole = run("fetch", port, *seconds, clips, 0, folder / f"out{number}")
        parts = json.loads(output)
        rest = whole - parts["trim"]
        for name, value in {
            "download": whole,
            "trimming": parts["trim"],
            f"everything but the trimming (goal: under {GOAL_MS})": rest,
            "  of it decoding the clip once": parts["inspect"],
            "  of it yt-dlp, files, manifest, start-up": rest - parts["inspect"],
            "the server, which is not part of it": cpu_of(pid) - served,
        }.items():
            found.setdefault(name, []).append(1000 * value / clips)
    size = f"{SHORT.width}x{SHORT.height}, seconds {seconds[0]} to {seconds[1]} of {SHORT.duration_s}"
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
            output, _ = run("fetch", port, SHORT.clip_start_s, SHORT.clip_end_s, clips * workers, workers, out)
            found = json.loads(output)
            at_s, ((machine_then, ours_then), (machine_now, ours_now)) = found["finished_s"], found["busy"]
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


def measure_memory(folder: Path, *, port: int, clips: int) -> None:
    """Resident memory and open files over many clips."""
    output, _ = run("fetch", port, TINY.clip_start_s, TINY.clip_end_s, clips, 0, folder / "many")
    held = json.loads(output)["held"]
    share = max(len(held) // 5, 1)
    print(
        f"\n{clips} clips of {TINY.width}x{TINY.height}, {TINY.clip_end_s} s; one process, every {SAMPLE_EVERY} clips"
    )
    for name, column, unit in (("resident memory", 1, "MiB"), ("open files", 2, "")):
        values = [sample[column] for sample in held]
        early, late = statistics.median(values[:share]), statistics.median(values[-share:])
        ends = f"first {share * SAMPLE_EVERY} clips {early:.1f}, last {late:.1f} {unit}".rstrip()
        print(f"{name:48}{ends}, {late - early:+.1f}; all: {' '.join(f'{value:.0f}' for value in values)}")


def print_machine() -> None:
    """Machine, versions and commit."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, check=False, capture_output=True, text=True).stdout.strip() or "unknown"
    versions = ", ".join(f"{name} {version(name)}" for name in ("yt-dlp", "av", "ray"))
    load = os.getloadavg()[0]
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"Python {platform.python_version()}, {versions}; commit {commit}; load {load:.1f} before the start")


if __name__ == "__main__":
    main()
