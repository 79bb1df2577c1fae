"""The pages of jobs, without a browser."""

import html
import re

import pytest
from fastapi.testclient import TestClient

from preprocess.jobs.jobs import Jobs
from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from tests.preprocess.jobs.small_jobs import CLIPS, DOWNLOAD, past_job
from tests.preprocess.jobs.small_jobs import ended as job_ended

URL = "http://127.0.0.1:8765"


@pytest.fixture
def client(root):
    with TestClient(
        create_app(ServeConfig(root=root)), base_url=URL, headers={"Origin": URL}, follow_redirects=False
    ) as client:
        yield client


def csrf_of(client, path):
    return re.search(r'name="csrf" value="([0-9a-f]+)"', client.get(path).text)[1]


def submit(client, path, *, shown_on, **fields):
    return client.post(path, data={"csrf": csrf_of(client, shown_on), **fields})


def test_no_job_yet(client):
    page = client.get("/jobs").text
    assert "No job has run yet." in page
    assert 'href="/jobs/new/download"' in page


def test_form_has_every_option_and_what_the_query_says(client):
    page = client.get("/jobs/new/download?out=my%22clips&split=train&split=val&strict=true&retry=bad_media").text
    for name in ("lists", "out", "dataset", "url-template", "retry", "address"):
        assert f'name="{name}"' in page
    assert "cookies" not in re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert 'value="my&#34;clips"' in page
    assert re.search(r'<textarea[^>]* name="split"[^>]*>\ntrain\nval</textarea>', page)
    assert re.search(r'name="strict" value="true" checked', page)
    assert re.search(r'value="bad_media" checked', page)
    assert not re.search(r'value="unavailable" checked', page)
    assert '<option value="videos">' in page
    assert "In ROOT: list.csv" in page
    assert "[repeat]" not in re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert "a folder of clips for preprocess flow.</p>" in client.get("/jobs/new/index").text


def test_start_from_the_form(client, root):
    form = "/jobs/new/download"
    fields = {"lists": " list.csv \r\n\r\n", "source-dir": "videos", "out": "clips", "workers": "0", "limit": ""}
    answer = submit(client, form, shown_on=form, **fields)
    assert answer.status_code == 303
    job = Jobs(root).newest(1).jobs[0]
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert job.options == {"lists": ("list.csv",), "source-dir": ("videos",), "out": ("clips",), "workers": ("0",)}
    assert job_ended(Jobs(root), job).state == "finished"
    page = client.get(f"/jobs/{job.id}").text
    assert f"{CLIPS} rows = {CLIPS} done" in page
    assert "Run again" in page
    assert "data-running" not in page
    assert f'href="/jobs/{job.id}"' in client.get("/jobs").text
    assert client.get(f"/jobs/{job.id}/log.txt").text == Jobs(root).log(job.id).text
    again = html.unescape(re.search(r'href="(/jobs/new/download\?[^"]+)"', page)[1])
    assert 'value="clips"' in client.get(again).text


def test_form_with_a_mistake_is_shown_again(client, root):
    form = "/jobs/new/download"
    answer = submit(client, form, shown_on=form, lists="list.csv", out="clips", limit="<b>", classes="one\ntwo")
    assert answer.status_code == 422
    assert "&#39;&lt;b&gt;&#39; is not a valid integer" in answer.text
    assert 'value="&lt;b&gt;"' in answer.text
    assert ">\none\ntwo</textarea>" in answer.text
    assert Jobs(root).newest(1).total == 0


def test_cancel_from_the_page(client, root, pause_at):
    wait_for_pause = pause_at("preprocess.trim:trim:pause:1")
    job = Jobs(root).start("download", DOWNLOAD)
    wait_for_pause()
    page = client.get(f"/jobs/{job.id}").text
    assert "data-running" in page
    assert "Resume" not in page
    assert "Forget" not in page
    assert submit(client, f"/jobs/{job.id}/forget", shown_on=f"/jobs/{job.id}").status_code == 409
    taken = submit(client, "/jobs/new/download", shown_on="/jobs/new/download", lists="list.csv", out="other")
    assert taken.status_code == 409
    assert f"job {job.id} runs" in taken.text
    assert submit(client, f"/jobs/{job.id}/cancel", shown_on=f"/jobs/{job.id}").status_code == 303
    assert job_ended(Jobs(root), job).state == "cancelled"
    assert submit(client, f"/jobs/{job.id}/resume", shown_on=f"/jobs/{job.id}").status_code == 303
    resumed = job_ended(Jobs(root), Jobs(root).newest(1).jobs[0])
    assert resumed.resumed_from == job.id
    assert f'href="/jobs/{job.id}"' in client.get(f"/jobs/{resumed.id}").text
    assert submit(client, f"/jobs/{job.id}/forget", shown_on=f"/jobs/{job.id}").status_code == 303
    page = client.get(f"/jobs/{resumed.id}").text
    assert f'href="/jobs/{job.id}"' not in page
    assert "forgotten" in page


def test_forget_from_the_pages(client, root):
    for number in range(3):
        past_job(root, f"{number:016x}")
    one = f"/jobs/{0:016x}"
    answer = submit(client, f"{one}/forget", shown_on=one)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs")
    assert client.get(one).status_code == 404
    assert f"{1:016x}" in client.get("/jobs").text
    assert submit(client, "/jobs/forget", shown_on="/jobs").status_code == 303
    assert "No job has run yet." in client.get("/jobs").text
    assert 'action="/jobs/forget"' not in client.get("/jobs").text


def test_forms_without_their_secret_do_nothing(client, root):
    job = f"/jobs/{0:016x}"
    past_job(root, f"{0:016x}")
    for path in ("/jobs/new/verify", f"{job}/cancel", f"{job}/resume", f"{job}/forget", "/jobs/forget"):
        assert client.post(path, data={"shards": "x"}).status_code == 403
    assert Jobs(root).newest(1).total == 1


def test_what_a_command_says_is_text(client, root):
    job = job_ended(Jobs(root), Jobs(root).start("verify", {"shards": ["<script>alert(1)</script>"]}))
    with (root / ".kineflow-serve" / "jobs" / job.id / "log.txt").open("ab") as log:
        log.write(b"\x1b[31m</pre><img src=x>\x1b[0m\x07\n")
    for path in ("/jobs", f"/jobs/{job.id}"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;alert(1)" in page
    assert "&lt;/pre&gt;&lt;img src=x&gt;\\x07" in client.get(f"/jobs/{job.id}").text
    text = client.get(f"/jobs/{job.id}/log.txt")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.headers["X-Content-Type-Options"] == "nosniff"


def test_damaged_job_is_shown(client, root):
    job = job_ended(Jobs(root), Jobs(root).start("verify", {"shards": ["x"]}))
    (root / ".kineflow-serve" / "jobs" / job.id / "job.json").write_text("{")
    page = client.get("/jobs")
    assert page.status_code == 200
    assert f"Job {job.id} cannot be read" in page.text
    assert client.get(f"/jobs/{job.id}").status_code == 422
    assert submit(client, f"/jobs/{job.id}/forget", shown_on="/jobs").status_code == 303
    assert "cannot be read" not in client.get("/jobs").text


def test_no_such_page(client):
    for path in ("/jobs/new/serve", "/jobs/x", f"/jobs/{'0' * 16}", f"/jobs/{'0' * 16}/log.txt"):
        assert client.get(path).status_code == 404
