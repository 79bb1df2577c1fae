import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from preprocess.metrics import endpoint
from preprocess.paths import exclusive
from preprocess.serve.runs import Runs
from preprocess.status.run_status import STATUS_NAME, RunStatus
from tests.preprocess.clip_folders import clip, done, write_manifest


@pytest.fixture
def root(tmp_path):
    """Clips whose download was killed, shards of a run that ended, and clips whose status is damaged."""
    folders = [write_manifest(tmp_path / name, [done(clip(0))]) for name in ("k400/clips", "old")]
    with exclusive(folders[0]):
        RunStatus(folders[0], command="download", total=5, already={}).publish(state="running")
    (folders[1] / STATUS_NAME).write_bytes(b"{")
    (tmp_path / "k400" / "shards").mkdir()
    (tmp_path / "k400" / "shards" / "plan.json").write_text("{}")
    RunStatus(tmp_path / "k400" / "shards", command="flow", total=7, already={}).publish(state="finished")
    return tmp_path


@pytest.fixture
def client(root):
    app = FastAPI()
    app.state.runs = Runs(root)
    app.include_router(endpoint.router)
    return TestClient(app)


def states(families):
    return {
        (found.labels["run"], found.labels["command"]): found.labels["state"]
        for family in families
        for found in family.samples
        if found.name == "kineflow_run_state" and found.value
    }


EXPECTED = {
    ("k400/clips", "download"): "stopped",
    ("k400/shards", "flow"): "finished",
    ("old", ""): "unreadable",
}


def test_every_run_below_root_is_there_as_text(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert states(text_string_to_metric_families(answer.text)) == EXPECTED


def test_openmetrics_for_those_who_ask_for_it(client):
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert states(read_openmetrics(answer.text)) == EXPECTED


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=abc", "a;;;,,", "text/html", "\xff"])
def test_what_is_asked_for_otherwise_gets_text(client, accept):
    answer = client.get("/metrics", headers={"Accept": accept.encode("latin-1")})
    assert (answer.status_code, answer.headers["content-type"][:24]) == (200, "text/plain; version=0.0.")


@pytest.mark.parametrize("value", [10**400, -1, "\ud800", None])
def test_a_damaged_status_is_said_to_be_and_costs_the_others_nothing(client, root, value):
    path = root / "k400" / "shards" / STATUS_NAME
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "outcomes": {"done": value}, "total": value}))
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert states(text_string_to_metric_families(answer.text)).items() >= {("old", ""): "unreadable"}.items()


def test_the_manifest_is_not_read_for_it(client, root, monkeypatch):
    """It has hundreds of megabytes, and a scrape comes every few seconds."""
    monkeypatch.setattr("preprocess.status.manifest_tail.ManifestTail.refresh", None)
    assert client.get("/metrics").status_code == 200
