"""How fast `preprocess verify` reads, hashes and sums shards, beside the two checksums alone.

Makes up shards of textures, 340x256 pixels, and checks them in turn: `preprocess verify` with one thread, SHA-256
of the files alone, CRC-32 of the files alone, both of them in one loop, and `preprocess verify --decode`. CPU seconds
are those of this process; the files are in the page cache. The best of the rounds is printed; `--decode` runs once.

Example:
    python benchmarks/verify_cpu.py --shards 2
"""

import hashlib
import os
import ssl
import sys
import tempfile
import time
import zlib
from pathlib import Path

import click
import cv2

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.made_up_clips import write_clips
from preprocess.verification import verify_folder

FRAMES, CLIPS = 250, 20
PIECE = 4 << 20


def checked(folder, *, decode):
    """As the command does."""
    found = verify_folder(folder, decode=decode, workers=1)
    assert not found.findings, found.findings[0]


def summed(folder, *, sha256, crc32):
    """The checksums alone, of the whole files."""
    buffer = memoryview(bytearray(PIECE))
    for path in sorted(folder.glob("*.h5")):
        digest, value = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                if sha256:
                    digest.update(buffer[:count])
                if crc32:
                    value = zlib.crc32(buffer[:count], value)


@click.command()
@click.option("--shards", default=2, show_default=True, help="Of some 250 MB each.")
@click.option("--rounds", default=5, show_default=True)
def main(shards, rounds):
    """Measure and print a table."""
    print(machine())
    print(f"zlib {zlib.ZLIB_RUNTIME_VERSION}, {ssl.OPENSSL_VERSION}, load {os.getloadavg()[0]:.1f}")
    what = {
        "preprocess verify": lambda folder: checked(folder, decode=False),
        "SHA-256 alone": lambda folder: summed(folder, sha256=True, crc32=False),
        "CRC-32 alone": lambda folder: summed(folder, sha256=False, crc32=True),
        "both in one loop": lambda folder: summed(folder, sha256=True, crc32=True),
        "preprocess verify --decode": lambda folder: checked(folder, decode=True),
    }
    best = dict.fromkeys(what, float("inf"))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = write_clips(Path(name) / "shards", clips=CLIPS, frames=FRAMES, side=256, shards=shards)
        size = sum(path.stat().st_size for path in folder.glob("*.h5"))
        for number in range(rounds):
            for title, run in what.items():
                if title.endswith("--decode") and number:
                    continue
                started = time.process_time()
                run(folder)
                best[title] = min(best[title], time.process_time() - started)
    print(f"{size / 1e6:.0f} MB in {shards} shards, {shards * CLIPS} clips, {FRAMES} frames each")
    print(f"{'':<28}{'GB a CPU second':>16}")
    for title, seconds in best.items():
        print(f"{title:<28}{size / seconds / 1e9:>16.2f}")


if __name__ == "__main__":
    main()
