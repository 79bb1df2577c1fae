"""How long a data set of the size of Kinetics-700 is planned for, and in how much memory.

Makes up the lists of train, val and test, a manifest that has all their clips, and an empty file for each of them.
Then, each in a process of its own: what `preprocess download` does before it fetches anything (read the lists, match
the labels, select, write down what is wanted), and a whole run of it that finds all of them done by an earlier one.

Example:
    python benchmarks/plan_cpu.py --rows 650000
"""

import os
import platform
import random
import resource
import string
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from preprocess.annotations import read_lists, select
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import download
from preprocess.jsonl import line_of
from preprocess.labels import label_table
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome
from preprocess.paths import label_folder
from preprocess.wanted import wanted_of

SHARES = {"train": 0.83, "validate": 0.055, "test": 0.115}
"""Of the rows, as in Kinetics-700."""


def make_lists(folder: Path, rows: int) -> None:
    """Lists with the classes of Kinetics-700, some in another spelling, and a manifest of all their clips, done.

    The clips are there, as empty files: nothing but their sizes is looked at.
    """
    draw = random.Random(0)  # noqa: S311 made-up ids, not secrets
    letters = string.ascii_letters + string.digits + "-_"
    for split, share in SHARES.items():
        with (folder / f"{split}.csv").open("w") as file:
            file.write("label,youtube_id,time_start,time_end,split\n")
            for _ in range(round(rows * share)):
                label, start = draw.choice(label_table("kinetics700")), draw.randrange(600)
                file.write(f"{label.lower()},{''.join(draw.choices(letters, k=11))},{start},{start + 10},{split}\n")
    with (folder / MANIFEST_NAME).open("wb") as file:
        for clip in read_lists(lists_of(folder)).clips:
            path = folder / clip.split / label_folder(clip.label or "") / f"{clip.key}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            entry = ManifestEntry.of_clip(
                clip,
                Outcome.DONE,
                source="youtube",
                path=str(path.relative_to(folder)),
                sha256=f"{draw.getrandbits(256):064x}",
                duration_s=round(draw.uniform(9, 10), 6),
                frame_count=draw.randrange(100, 600),
                fps=29.97003,
                width=340,
                height=256,
            )
            file.write(line_of(asdict(entry)))


def lists_of(folder: Path) -> list[Path]:
    """The lists that `make_lists` made."""
    return [folder / f"{split}.csv" for split in SHARES]


def plan(folder: Path, *, resumed: bool) -> None:
    """Plan, and print rows, seconds of CPU and peak memory, those of starting Python and of imports included."""
    listed = read_lists(lists_of(folder))
    wanted = wanted_of(listed, select(listed.clips, splits=["train", "val", "test"]))
    what = "planned"
    if resumed:
        config = DownloadConfig(out=folder, url_template="http://127.0.0.1:9/{youtube_id}")
        report = download(wanted, config=config, workers=WorkerConfig(workers=0))
        what = f"resumed, with a manifest of {report.outcomes['done']} clips"
    else:
        wanted.write(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(wanted.clips):10}{time.process_time():10.1f}{peak:10.0f}  {what}")


@click.command()
@click.option("--rows", default=650_000, show_default=True, help="Of the three lists together.")
@click.option("--planned", type=click.Path(path_type=Path), hidden=True, help="Folder of lists that are made already.")
@click.option("--resumed", is_flag=True, hidden=True)
def main(rows, planned, resumed):
    """Measure and print a table."""
    if planned:
        plan(planned, resumed=resumed)
        return
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{'rows':>10}{'CPU s':>10}{'peak MB':>10}")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as name:
        make_lists(Path(name), rows)
        for options in ([], ["--resumed"]):
            # in a process of its own, so that its peak is nobody else's
            subprocess.run([sys.executable, __file__, "--planned", name, *options], check=True)


if __name__ == "__main__":
    main()
