"""A small ROOT with a folder of clips and one of shards, and a client of its server."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from preprocess.jsonl import line_of
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from preprocess.serve.index.counts import outcomes_of
from preprocess.serve.index.indexer import Indexer
from preprocess.serve.runs import Runs
from tests.pipelines.tiny_shards import textured_clip, write_set
from tests.preprocess.clip_folders import clip, done, failed, write_folder

URL = "http://127.0.0.1:8765"
FORM = {"Origin": URL}
TOKEN = "0123456789-abcdefghij"
EVIL = "<script>alert(1)</script>"
FRAMES = 6
SIZE = (48, 64)

CLIPS = (clip(1), clip(2), clip(3, label="zumba"), clip(4, label=EVIL, split="val"), clip(5, label=None, split="val"))
"""The first three are done, and two of them in shards."""
KEYS = [one.key for one in CLIPS]
_NUMBERS = itertools.count()


def make_root(folder: Path) -> Path:
    """`clips` with five clips, one of them tried three times, and `shards` with two of them."""
    gone = failed(CLIPS[3], Outcome.UNAVAILABLE, "private", f"[youtube] {CLIPS[3].youtube_id}: {EVIL} private")
    later = failed(CLIPS[4], Outcome.TEMPORARY, "timeout", "no answer after 20.5 s")
    earlier = replace(gone, outcome=Outcome.TEMPORARY, cause="server_error", reason="HTTP Error 503")
    entries = [
        done(CLIPS[0]),
        earlier,
        done(CLIPS[1]),
        done(CLIPS[2]),
        replace(earlier, reason="HTTP 502"),
        gone,
        later,
    ]
    write_folder(folder / "clips", CLIPS, entries)
    made = [textured_clip(KEYS[n], label=1, frames=FRAMES, size=SIZE) for n in (0, 1)]
    write_set(folder / "shards", {"train": [made[:1], made[1:]]})
    return folder


def indexed(root: Path, path: Path | None = None) -> Indexer:
    """The index of a root, with all that is there now."""
    indexer = Indexer(path or root / ".kineflow-serve" / "index.sqlite", runs=Runs(root))
    indexer.catch_up()
    return indexer


def client_of(root: Path, *, headers: Mapping[str, str] | None = None, **config: Any) -> TestClient:
    """A client that follows no redirects, of a server with an index of its own that has all that is there now."""
    index = root / ".kineflow-serve" / f"{next(_NUMBERS)}.sqlite"
    app = create_app(ServeConfig(root=root, **{"index": index, **config}))
    app.state.index.catch_up()
    return TestClient(app, base_url=URL, headers=headers, follow_redirects=False)


def run_of(client: TestClient, name: str) -> str:
    """Id of a run."""
    return next(run["id"] for run in client.get("/api/v1/runs").json() if run["name"] == name)


def append(root: Path, entries: Iterable[Any]) -> None:
    """Add entries, or raw lines, to the manifest of `clips`."""
    with (root / "clips" / MANIFEST_NAME).open("ab") as file:
        for entry in entries:
            file.write(entry if isinstance(entry, bytes) else line_of(asdict(entry)))


def outcomes(indexer: Indexer, name: str = "clips") -> dict[str, int]:
    """Clips of a run by outcome, as the index counts them, which is what its entries are."""
    with indexer.reading() as db:
        ((number,),) = db.execute("SELECT id FROM run WHERE name = ?", (name,))
        counted = outcomes_of(db, number)
        rows = db.execute(
            "SELECT outcome, count(*) FROM entry JOIN kind ON kind.id = entry.kind WHERE entry.run = ? GROUP BY 1",
            (number,),
        )
        assert dict(rows.fetchall()) == counted
    return counted
