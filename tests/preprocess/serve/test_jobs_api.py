"""Jobs by HTTP, as a program on this machine asks for them."""

import pytest
from fastapi.testclient import TestClient

from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from tests.preprocess.jobs.small_jobs import CLIPS, past_job, wait_until

URL = "http://127.0.0.1:8765"
API = "/api/v1"
DOWNLOAD = {"lists": ["list.csv"], "source-dir": "videos", "out": "clips", "workers": 0, "strict": True}


@pytest.fixture
def client(root):
    with TestClient(create_app(ServeConfig(root=root)), base_url=URL, headers={"Origin": URL}) as client:
        yield client


def start(client, command="download", options=DOWNLOAD):
    return client.post(f"{API}/jobs", json={"command": command, "options": options})


def ended(client, job_id):
    wait_until(lambda: client.get(f"{API}/jobs/{job_id}").json()["state"] != "running")
    return client.get(f"{API}/jobs/{job_id}").json()


def test_commands_have_their_options(client):
    commands = {command["name"]: command for command in client.get(f"{API}/commands").json()}
    assert set(commands) == {"download", "index", "flow", "verify", "repair"}
    options = {option["name"]: option for option in commands["download"]["parameters"]}
    assert options["retry"]["choices"] == ["unavailable", "bad_media", "quarantined"]
    assert options["lists"] == {
        "name": "lists",
        "kind": "path",
        "is_argument": True,
        "is_required": True,
        "is_many": True,
        "help": "",
        "metavar": "LIST...",
        "default": None,
        "choices": [],
    }
    assert options["deadline"]["default"] == "600"
    assert options["deadline"]["help"] == "Seconds for one clip."
    assert not options.keys() & {"cookies", "cookies-from-browser"}


def test_job_from_start_to_end(client):
    answer = start(client)
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == f"{API}/jobs/{job['id']}"
    assert job["state"] == "running"
    assert job["line"][:2] == ["preprocess", "download"]
    job = ended(client, job["id"])
    assert (job["state"], job["exit_status"], job["output"]) == ("finished", 0, "clips")
    assert (job["progress"]["finished"], job["progress"]["outcomes"]) == (CLIPS, {"done": CLIPS})
    log = client.get(f"{API}/jobs/{job['id']}/log").json()
    assert f"{CLIPS} rows = {CLIPS} done" in log["text"]
    assert client.get(f"{API}/jobs/{job['id']}/log?offset={log['next']}").json()["text"] == ""
    listed = client.get(f"{API}/jobs").json()
    assert [one["id"] for one in listed["jobs"]] == [job["id"]]
    again = start(client, options=job["options"]).json()
    assert again["line"] == job["line"]
    assert ended(client, again["id"])["state"] == "finished"


def test_cancel_and_resume(client, pause_at, monkeypatch):
    wait_for_pause = pause_at("preprocess.trim:trim:pause:3")
    job = start(client).json()
    wait_for_pause()
    assert client.get(f"{API}/jobs/{job['id']}").json()["progress"]["finished"] in {0, 1, 2}
    refused = start(client)
    assert refused.status_code == 409
    assert f"job {job['id']} runs `preprocess download`" in refused.json()["message"]
    assert client.post(f"{API}/jobs/{job['id']}/resume", json={}).status_code == 409
    cancelled = client.post(f"{API}/jobs/{job['id']}/cancel", json={})
    assert (cancelled.status_code, cancelled.json()["is_stopping"]) == (202, True)
    assert ended(client, job["id"])["state"] == "cancelled"
    assert client.post(f"{API}/jobs/{job['id']}/cancel", json={}).status_code == 409
    monkeypatch.delenv("PYTHONPATH")
    resumed = client.post(f"{API}/jobs/{job['id']}/resume", json={})
    assert resumed.status_code == 201
    assert resumed.json()["resumed_from"] == job["id"]
    assert resumed.headers["Location"] == f"{API}/jobs/{resumed.json()['id']}"
    assert ended(client, resumed.json()["id"])["state"] == "finished"


def test_forget(client, pause_at, root):
    wait_for_pause = pause_at("preprocess.trim:trim:pause:1")
    job = start(client).json()
    wait_for_pause()
    refused = client.delete(f"{API}/jobs/{job['id']}")
    assert refused.status_code == 409
    assert "runs; wait for its end or cancel it" in refused.json()["message"]
    assert client.delete(f"{API}/jobs").json() == {"forgotten": 0}
    client.post(f"{API}/jobs/{job['id']}/cancel", json={})
    ended(client, job["id"])
    for number in range(3):
        past_job(root, f"{number:016x}")
    answer = client.delete(f"{API}/jobs/{job['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.delete(f"{API}/jobs/{job['id']}").status_code == 404
    assert client.get(f"{API}/jobs/{job['id']}/log").status_code == 404
    assert client.get(f"{API}/jobs").json()["total"] == 3
    assert client.delete(f"{API}/jobs").json() == {"forgotten": 3}
    assert client.get(f"{API}/jobs").json() == {"jobs": [], "damaged": {}, "total": 0}
    assert (root / "clips").is_dir()


def test_forget_a_damaged_job(client, root):
    for number, has_ended in enumerate((True, False)):
        (past_job(root, f"{number:016x}", has_ended=has_ended) / "job.json").write_text("{")
    assert client.delete(f"{API}/jobs/{0:016x}").status_code == 204
    answer = client.delete(f"{API}/jobs/{1:016x}")
    assert answer.status_code == 422
    assert "nobody can say" in answer.json()["message"]


def test_progress_is_of_this_run_only(client):
    first = ended(client, start(client).json()["id"])
    second = ended(client, start(client).json()["id"])
    assert second["progress"]["finished"] == 0  # all was done
    assert client.get(f"{API}/jobs/{first['id']}").json()["progress"] is None


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("download", {"out": "clips"}, "Missing argument 'LIST...'."),
        ("download", {**DOWNLOAD, "limit": "x"}, "Invalid value for '--limit': 'x' is not a valid integer."),
        ("download", {**DOWNLOAD, "limit": 1.5}, "Invalid value for '--limit': '1.5' is not a valid integer."),
        ("download", {**DOWNLOAD, "out": "../x"}, "without '..'"),
        ("download", {**DOWNLOAD, "out": "/etc"}, "leads outside"),
        ("download", {**DOWNLOAD, "cookies": "list.csv"}, "option cookies is not for jobs"),
        ("download", {**DOWNLOAD, "limit": 10**4200}, "takes 4096 characters at most"),
        ("serve", {}, "command 'serve' cannot be a job"),
    ],
)
def test_refused_options(command, options, message, client, root):
    answer = start(client, command, options)
    assert answer.status_code == 422
    assert message in answer.json()["message"]
    assert not (root / ".kineflow-serve" / "jobs").exists()


@pytest.mark.parametrize(
    "body", [{}, {"command": "download"}, {"command": 1, "options": {}}, {"command": "download", "options": {"a": {}}}]
)
def test_body_of_another_shape(body, client):
    answer = client.post(f"{API}/jobs", json=body)
    assert answer.status_code == 422
    assert answer.json()["details"]


def test_no_such_job(client):
    for path in ("0" * 16, "x", "..%2f..%2fetc", "%00"):
        assert client.get(f"{API}/jobs/{path}").status_code == 404
        assert client.get(f"{API}/jobs/{path}/log").status_code == 404
        assert client.post(f"{API}/jobs/{path}/cancel", json={}).status_code == 404
        assert client.post(f"{API}/jobs/{path}/resume", json={}).status_code == 404
        assert client.delete(f"{API}/jobs/{path}").status_code == 404


def test_bounds_of_queries(client):
    assert client.get(f"{API}/jobs?limit=0").status_code == 422
    assert client.get(f"{API}/jobs?limit=201").status_code == 422
    assert client.get(f"{API}/jobs/{'0' * 16}/log?offset=-1").status_code == 422


def test_root_that_cannot_be_written(client, root):
    (root / ".kineflow-serve").mkdir(exist_ok=True)
    (root / ".kineflow-serve" / "jobs").write_text("a file where a folder should be")
    answer = start(client)
    assert answer.status_code == 503
    assert "cannot make the folder" in answer.json()["message"]
    answer = client.get(f"{API}/jobs")
    assert answer.status_code == 503
    assert "cannot read" in answer.json()["message"]


def test_other_sites_start_and_forget_nothing(client, root):
    past_job(root, "0" * 16)
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = client.post(f"{API}/jobs", json={"command": "download", "options": DOWNLOAD}, headers=headers)
        assert answer.status_code == 403
        assert client.delete(f"{API}/jobs/{'0' * 16}", headers=headers).status_code == 403
        assert client.delete(f"{API}/jobs", headers=headers).status_code == 403
    assert client.post(f"{API}/jobs", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert not (root / "clips").exists()
    assert client.get(f"{API}/jobs").json()["total"] == 1


def test_api_is_described(client):
    paths = client.get("/api/openapi.json").json()["paths"]
    for path in ("/commands", "/jobs", "/jobs/{id}", "/jobs/{id}/log", "/jobs/{id}/cancel", "/jobs/{id}/resume"):
        for operation in paths[f"{API}{path}"].values():
            assert operation["summary"]
            assert operation["description"]
    assert set(paths[f"{API}/jobs"]) == {"get", "post", "delete"}
    assert {"204", "403", "404", "409", "422"} <= set(paths[f"{API}/jobs/{{id}}"]["delete"]["responses"])
    assert {"201", "403", "409", "415", "422", "503"} <= set(paths[f"{API}/jobs"]["post"]["responses"])
