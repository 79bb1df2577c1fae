"""The pipeline under fire: good, broken and poisoned clips, processes killed at random, for as long as asked.

    python benchmarks/soak.py --minutes 10 [--clips DIR] [--seed 0] [--workers 1]

Videos come in rounds. Each round downloads them (from a folder), makes shards of them, and is killed over and over:
the driver, one of its workers, or a decoder, at moments drawn with the seed. When a round has come to its end it is
checked: every row has its outcome, every clip on the disk has the SHA-256 that the manifest says, every shard is what
the index says, and nothing temporary is left. Ends with a table.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.own_process import resident_bytes
from preprocess.outcomes import Outcome, read_manifest
from preprocess.shards.index import Index
from preprocess.shards.verify import verify_shard
from tests.crash.processes import Process, running

ROOT = Path(__file__).parents[1]
GOOD_A_ROUND = 4
MOST_KILLS = 6  # of each of its two commands, which then may end in peace
SHOTS_S = 25.0  # at most between two: Ray takes up to half of it to start its workers
ENDED_S = 30.0  # for what a killed driver leaves: two helpers of Ray's own take a minute, and are not waited for
HELPERS_S = 120.0  # but for these they are, at the very end


@dataclass
class Tally:
    """What the table says."""

    rounds: int = 0
    clips: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    left_out: int = 0
    """Clips that are done and in no shard; named with their reason in it."""
    kills: Counter[str] = field(default_factory=Counter)
    bytes_checked: int = 0
    bytes_lost: int = 0
    faults: list[str] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    """One of each command that was started."""


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clips", type=Path, help="folder of broken videos to mix in, with subfolders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 not a secret
    strange = sorted(path for path in options.clips.rglob("*") if path.is_file()) if options.clips else []
    tally, end = Tally(), time.monotonic() + options.minutes * 60
    at_start = (resident_bytes(), open_files(), *of_the_machine())
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            one_round(Path(folder), tally, strange=strange, workers=options.workers, chance=chance, end=end)
    if left := processes_left(tally.sessions):
        tally.faults.append(f"{left} processes are left")
    print_table(tally, options, at_start=at_start, at_end=(resident_bytes(), open_files(), *of_the_machine()))
    if tally.faults or tally.bytes_lost:
        sys.exit(1)


def one_round(
    folder: Path, tally: Tally, *, strange: list[Path], workers: int, chance: random.Random, end: float
) -> None:
    """Make videos, take them through the pipeline, look at what came of it."""
    rows = make_videos(folder, strange, chance)
    clips, shards = folder / "clips", folder / "shards"
    download = ("download", folder / "list.csv", "--source-dir", folder / "videos", "--out", clips)
    flow = ("flow", clips, "--out", shards, "--short-side", "64", "--clips-per-shard", "2")
    run_under_fire((*download, "--workers", workers), tally, chance, end=end)
    if not any(clips.rglob("*.mp4")):
        tally.faults.append("a round of which no clip came")
        return
    run_under_fire((*flow, "--cpus", workers), tally, chance, end=end)
    tally.rounds += 1
    tally.clips += rows
    check(clips, shards, rows, tally)


def make_videos(folder: Path, strange: list[Path], chance: random.Random) -> int:
    """Videos named by ids, and a list of them; returns its length."""
    videos = folder / "videos"
    videos.mkdir()
    lines = ["label,youtube_id,time_start,time_end,split"]
    contents: list[bytes | Path] = [video_bytes(seed=chance.randrange(1 << 30)) for _ in range(GOOD_A_ROUND)]
    good = contents[0]
    assert isinstance(good, bytes)
    contents += [
        good[: len(good) * chance.randrange(1, 9) // 10],  # cut short
        flipped(good, chance),
        b"",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n",
        video_bytes(seed=1, frames=1),
        b"\0" * 4096,
    ]
    contents += chance.sample(strange, min(2, len(strange)))
    for number, content in enumerate(contents):
        name = f"{chance.randrange(1 << 40):010x}{number % 10}"
        path = videos / f"{name}.mp4"
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content)
        lines.append(f"class {number % 3},{name},0,1,{'train' if number % 4 else 'val'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return len(contents)


def video_bytes(*, seed: int, frames: int = 30) -> bytes:
    """H.264 of noise that moves."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        picture = np.random.default_rng(seed).integers(0, 255, (64, 96 + frames, 3), np.uint8)
        with av.open(file.name, "w") as output:
            stream = output.add_stream("libx264", rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for t in range(frames):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:, t : t + 96]))))
            output.mux(stream.encode(None))
        return Path(file.name).read_bytes()


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed."""
    changed = bytearray(content)
    for _ in range(8):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def run_under_fire(arguments: tuple[object, ...], tally: Tally, chance: random.Random, *, end: float) -> None:
    """Run a command until it has come to its end by itself, and kill it and its processes meanwhile."""
    kills = 0
    while True:
        command = [sys.executable, "-m", "preprocess", *map(str, arguments)]
        driver = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        tally.sessions.append(driver.pid)
        while kills < MOST_KILLS and time.monotonic() < end:
            try:
                driver.wait(chance.uniform(0.5, SHOTS_S))
                break
            except subprocess.TimeoutExpired:
                what = shoot(driver.pid, chance)
                tally.kills[what] += 1
                kills += 1
        assert driver.stderr is not None
        said = driver.stderr.read()
        status = driver.wait()
        wait_for_end(driver.pid)
        if status in (0, 1) and b"Traceback" not in said:
            return
        if status != -signal.SIGKILL:
            tally.faults.append(f"{arguments[0]} ended with {status}: {said[-300:]!r}")
            return


def shoot(driver: int, chance: random.Random) -> str:
    """Kill the driver or one of its processes; returns what it was."""
    victims = {driver: "driver"}
    for process in family(driver):
        if "media_child" in process.command:
            victims[process.pid] = "decoder"
        elif process.command.startswith("ray::") and "Agent" not in process.command:
            victims[process.pid] = "worker"
    kinds = sorted(set(victims.values()))
    # a driver is always there, and takes all others along: it would be most of what is hit
    kind = chance.choice([name for name in kinds if name != "driver"] * 3 + ["driver"])
    pid = chance.choice(sorted(pid for pid, name in victims.items() if name == kind))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return kind


def wait_for_end(session: int) -> None:
    """Until the killed run's processes have let go of its folder."""
    deadline = time.monotonic() + ENDED_S
    while time.monotonic() < deadline and any("Agent" not in process.command for process in family(session)):
        time.sleep(0.1)


def family(session: int) -> list[Process]:
    """Processes of a session, its leader left out."""
    return [process for process in running() if process.session == session and process.pid != session]


def check(clips: Path, shards: Path, rows: int, tally: Tally) -> None:
    """Count, and look for what is lost or left over."""
    manifest = read_manifest(clips)
    tally.outcomes.update(entry.outcome.value for entry in manifest.values())
    if len(manifest) != rows:
        tally.faults.append(f"{rows} rows, {len(manifest)} outcomes")
    done = {key: entry for key, entry in manifest.items() if entry.outcome is Outcome.DONE}
    for entry in done.values():
        path = clips / entry.path
        content = path.read_bytes() if path.is_file() else b""
        tally.bytes_checked += entry.bytes
        tally.bytes_lost += 0 if hashlib.sha256(content).hexdigest() == entry.sha256 else entry.bytes
    kept: set[str] = set()
    for info in Index.read(shards).shards:
        head, found = verify_shard(shards / info.name)
        tally.shards += 1
        tally.bytes_checked += info.bytes
        tally.bytes_lost += 0 if found == info else info.bytes
        tally.left_out += len(head.attributes.failed)
        kept |= {key.decode() for key in head.clips.key} | set(head.attributes.failed)
    if kept != done.keys():
        tally.faults.append(f"{len(done)} clips are done, {len(kept)} are accounted for in shards")
    over = [path for folder in (clips, shards) for path in folder.rglob(".*") if path.name != ".lock"]
    tally.faults += [f"left over: {path}" for path in over]


def open_files() -> int:
    """Of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def of_the_machine() -> tuple[int, int]:
    """Bytes of memory in use, and open files, of all that runs here."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(fields[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    return total - free, int(Path("/proc/sys/fs/file-nr").read_text().split()[0])


def processes_left(sessions: list[int]) -> int:
    """Of all commands that were started, after a last wait for Ray's helpers."""
    deadline = time.monotonic() + HELPERS_S
    while (left := sum(len(family(session)) for session in sessions)) and time.monotonic() < deadline:
        time.sleep(1)
    return left


def print_table(
    tally: Tally, options: argparse.Namespace, *, at_start: tuple[int, ...], at_end: tuple[int, ...]
) -> None:
    """As Markdown."""
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(tally.outcomes.items()))
    kills = ", ".join(f"{count} {name}" for name, count in sorted(tally.kills.items()))
    rows = [
        ("minutes, seed, workers", f"{options.minutes:g}, {options.seed}, {options.workers}"),
        ("rounds", f"{tally.rounds}"),
        ("clips in", f"{tally.clips}"),
        ("outcomes", outcomes),
        ("shards; clips named in them as left out", f"{tally.shards}; {tally.left_out}"),
        ("kills survived", f"{sum(tally.kills.values())} ({kills})"),
        ("bytes checked; lost", f"{tally.bytes_checked}; {tally.bytes_lost}"),
        ("memory of the watcher at start; end, MB", f"{at_start[0] / 1e6:.0f}; {at_end[0] / 1e6:.0f}"),
        ("open files of the watcher at start; end", f"{at_start[1]}; {at_end[1]}"),
        ("memory of the whole machine at start; end, MB", f"{at_start[2] / 1e6:.0f}; {at_end[2] / 1e6:.0f}"),
        ("open files of the whole machine at start; end", f"{at_start[3]}; {at_end[3]}"),
        ("faults", "; ".join(tally.faults) or "none"),
    ]
    print(f"{machine()}\n")
    print("| what | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
