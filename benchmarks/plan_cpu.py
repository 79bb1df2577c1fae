"""How long a data set of the size of Kinetics-700 is planned for, and in how much memory.

Makes up the lists of train, val and test, a manifest that has all their clips, and a file for each of them.
Then, each in a process of its own: what `preprocess download` does before it fetches anything (read the lists, match
the labels, select, write down what is wanted), and a whole run of it that finds all of them done by an earlier one.

Example:
    python benchmarks/plan_cpu.py --rows 650000
"""

import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.own_process import alone, peak_bytes
from benchmarks.scale_lists import Inputs
from preprocess.annotations import read_lists, select
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import download
from preprocess.outcomes import read_manifest
from preprocess.wanted import wanted_of


def make_files(inputs: Inputs) -> None:
    """The lists, a manifest of all their clips, done, and the clips as files without content, of the right size."""
    inputs.make()
    for entry in read_manifest(inputs.folder).values():
        path = inputs.folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(entry.bytes)


def plan(inputs: Inputs, *, resumed: bool) -> None:
    """Plan, and print rows, seconds of CPU and peak memory, those of starting Python and of imports included."""
    listed = read_lists(inputs.lists)
    wanted = wanted_of(listed, select(listed.clips, splits=["train", "val", "test"]))
    what = "planned"
    if resumed:
        config = DownloadConfig(out=inputs.folder, url_template="http://127.0.0.1:9/{youtube_id}")
        report = download(wanted, config=config, workers=WorkerConfig(workers=0))
        what = f"resumed, with a manifest of {report.outcomes['done']} clips"
    else:
        wanted.write(inputs.folder)
    print(f"{len(wanted.clips):10}{time.process_time():10.1f}{peak_bytes() / 2**20:10.0f}  {what}")


@click.command()
@click.option("--rows", default=650_000, show_default=True, help="Of the three lists together.")
def main(rows):
    """Measure and print a table."""
    print(machine())
    print(f"{'rows':>10}{'CPU s':>10}{'peak MB':>10}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        inputs = Inputs(folder=Path(name), clips=rows, few=0)
        make_files(inputs)
        for resumed in (False, True):
            alone(plan, inputs, resumed=resumed)


if __name__ == "__main__":
    main()
