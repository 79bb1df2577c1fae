"""Files below ROOT that are links out of it, pipes, or larger than what is theirs."""

import os
from pathlib import Path

import pytest

from preprocess.card.content import CARD_NAME
from preprocess.card.making import make_card
from preprocess.outcomes import MANIFEST_NAME
from preprocess.regular_file import open_regular, read_regular
from preprocess.serve import data_set
from preprocess.serve.index import shards
from preprocess.shards.index import INDEX_NAME
from preprocess.status.run_status import STATUS_NAME, RunStatus, Status
from preprocess.wanted import LIST_INFO_NAME, LIST_NAME
from tests.preprocess.serve.small_root import KEYS, client_of, make_root, run_of

SHARD = "train-00000-of-00002.h5"
FILES = {
    f"clips/{MANIFEST_NAME}": "it is a link or no file",
    f"clips/{STATUS_NAME}": "it is a link or no file",
    f"clips/{CARD_NAME}": "it is a link or no file",
    f"clips/{LIST_INFO_NAME}": "is a link or no file",
    f"clips/{LIST_NAME}": "is a link or no file",
    "clips/.lock": "",
    f"shards/{INDEX_NAME}": "it is a link or no file",
    f"shards/{SHARD}": "is a link or no file",
}
PAGES = ("/", "/clips", "/failures", "/dataset", f"/clip?key={KEYS[0]}", "/metrics", "/api/v1/runs")


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", FILES)
def test_links_and_pipes_are_not_read(tmp_path, tmp_path_factory, name, kind):
    root = make_root(tmp_path)
    RunStatus(root / "clips", command="download", total=1, already={}).publish(state="running")
    if name.endswith(CARD_NAME):
        make_card(root / "clips").write(root / "clips")
    path = root / name
    path.touch()
    if kind == "link":
        path.symlink_to(path.rename(tmp_path_factory.mktemp("outside") / path.name))
    else:
        path.unlink()
        os.mkfifo(path)
    client = client_of(root)
    answers = [client.get(page) for page in PAGES]
    answers.append(client.get("/dataset", params={"run": run_of(client, "clips")}))
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert any(FILES[name] in answer.text for answer in answers)
    media = client.get("/media/thumbnail", params={"run": run_of(client, "shards"), "key": KEYS[0]})
    assert (media.status_code == 200) == (not name.startswith("shards/"))


def test_what_is_larger_than_it_can_be_is_not_read(tmp_path, monkeypatch):
    root = make_root(tmp_path)
    make_card(root / "clips").write(root / "clips")
    for module, name in ((data_set, "MOST_CARD_BYTES"), (shards, "MOST_INDEX_BYTES")):
        monkeypatch.setattr(module, name, 10)
    client = client_of(root)
    for page in ("/", "/dataset"):
        assert "it has more than 10 bytes" in client.get(page).text
    (root / "clips" / CARD_NAME).unlink()
    monkeypatch.setattr(data_set, "MOST_LIST_BYTES", 10)
    assert "has more than 10 bytes" in client.get("/dataset").text


def test_readers_say_what_a_file_is(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", most=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(tmp_path / "file", most=4)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):  # a server looks again and again
        with pytest.raises(OSError, match="no file"):
            open_regular(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_status_that_no_run_wrote(tmp_path):
    (tmp_path / STATUS_NAME).write_bytes(b"")
    os.truncate(tmp_path / STATUS_NAME, 5 << 20)
    with pytest.raises(ValueError, match="more than 4194304 bytes"):
        Status.read(tmp_path)
