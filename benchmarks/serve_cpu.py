"""How long the pages of `preprocess serve` take over the manifest of a Kinetics-700, and what their index costs.

Makes up a manifest (see `scale_lists.py`) of which every sixth clip is not there, for one of a dozen reasons. Then,
in a process of its own: builds the index, and asks every page through the whole application, without a network
between, in order of their first use and ten times more. The time of a page is that of its median and of its slowest
answer.

Example:
    python benchmarks/serve_cpu.py --rows 650000
"""

import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import machine
from benchmarks.own_process import alone, peak_bytes
from benchmarks.scale_lists import Inputs
from preprocess.jsonl import line_of
from preprocess.outcomes import MANIFEST_NAME, Outcome, read_manifest
from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig

LOST = (
    (Outcome.UNAVAILABLE, "removed", "[youtube] {id}: This video has been removed by the uploader"),
    (Outcome.UNAVAILABLE, "private", "[youtube] {id}: Private video"),
    (Outcome.UNAVAILABLE, "account_closed", "[youtube] {id}: the account has been terminated"),
    (Outcome.UNAVAILABLE, "copyright", "[youtube] {id}: a copyright claim by no. {number}"),
    (Outcome.TEMPORARY, "rate_limit", "[youtube] {id}: HTTP Error 429: Too Many Requests"),
    (Outcome.TEMPORARY, "timeout", "no answer after {number} s"),
    (Outcome.BAD_MEDIA, "too_short", "holds {number} of 10 s"),
    (Outcome.BAD_MEDIA, "damaged", "frame {number} cannot be decoded"),
    (Outcome.QUARANTINED, "worker_died", "2 worker processes died while they worked on it"),
)


def make_manifest(folder: Path, rows: int) -> None:
    """A manifest of which every sixth clip is lost, in the order of no list."""
    Inputs(folder=folder, clips=rows, few=0).make()
    draw = random.Random(1)  # noqa: S311 made-up reasons, not secrets
    entries = list(read_manifest(folder).values())
    draw.shuffle(entries)
    with (folder / MANIFEST_NAME).open("wb") as file:
        for entry in entries:
            lost = entry
            if draw.random() < 1 / 6:
                outcome, cause, text = draw.choice(LOST)
                reason = text.format(id=entry.youtube_id, number=draw.randrange(1000))
                lost = replace(entry, outcome=outcome, cause=cause, reason=reason, path="", sha256="")
            file.write(line_of(asdict(lost)))


def measure(root: Path) -> None:
    """Print what the index and each page cost."""
    base_mb = peak_bytes() / 2**20
    started, began = time.perf_counter(), time.process_time()
    app = create_app(ServeConfig(root=root))
    app.state.index.catch_up()
    took, cpu = time.perf_counter() - started, time.process_time() - began
    manifest, index = (root / "clips" / MANIFEST_NAME), root / ".kineflow-serve" / "index.sqlite"
    print(
        f"index of {manifest.stat().st_size / 1e6:.0f} MB: {took:.1f} s ({cpu:.1f} s CPU), "
        f"{index.stat().st_size / 1e6:.0f} MB, peak memory {peak_bytes() / 2**20:.0f} MB (before: {base_mb:.0f})"
    )
    started = time.perf_counter()
    app.state.index.catch_up()
    print(f"nothing new: {1000 * (time.perf_counter() - started):.1f} ms")

    client = TestClient(app, base_url="http://127.0.0.1:8765")
    run = client.get("/api/v1/runs").json()[0]["id"]
    page = client.get("/api/v1/clips", params={"after": "m"}).json()
    key, message = page["clips"][7]["key"], client.get("/api/v1/failures").json()["messages"][0]["id"]
    print(f"{'first ms':>10}{'median ms':>11}{'slowest ms':>12}  page")
    for address in (
        "/",
        "/fragments/runs",
        "/clips",
        f"/clips?after={key}",
        "/clips?outcome=done",
        "/clips?outcome=unavailable&split=test",
        "/clips?cause=worker_died",
        "/clips?label=yoga",
        "/clips?label=yoga&outcome=bad_media&split=val",
        f"/clips?message={message}",
        f"/clips?message={message}&label=yoga",
        f"/clips?q={key}",
        f"/clips?q={key[3:8]}",
        f"/clips?q={key[3:6]}",
        "/clips?q=yo",
        "/clips?q=dancing",
        "/clips?q=ing",
        "/clips?q=nothing+like+this",
        f"/clip?key={key}",
        "/failures",
        f"/failures?run={run}&outcome=temporary&cause=timeout",
        "/dataset",
        "/api/v1/clips?limit=200",
        "/metrics",
    ):
        times = [time_of(client, address) for _ in range(11)]
        rest = statistics.median(times[1:])
        print(f"{times[0]:10.1f}{rest:11.1f}{max(times[1:]):12.1f}  {address.replace(key, 'KEY')}")
    print(f"peak memory {peak_bytes() / 2**20:.0f} MB")


def time_of(client: TestClient, address: str) -> float:
    """Milliseconds until the whole answer is there."""
    started = time.perf_counter()
    assert client.get(address).status_code == 200, address
    return 1000 * (time.perf_counter() - started)


@click.command()
@click.option("--rows", default=650_000, show_default=True, help="Of the manifest.")
def main(rows):
    """Measure and print a table."""
    print(machine())
    print(f"{rows} clips", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clips"
        folder.mkdir()
        make_manifest(folder, rows)
        alone(measure, Path(name))


if __name__ == "__main__":
    main()
