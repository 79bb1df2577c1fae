"""A job from a browser: started, watched, cancelled, listed, forgotten."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from preprocess.jobs.jobs import Jobs
from preprocess.jobs.process import Process
from tests.preprocess.jobs.small_jobs import CLIPS, DOWNLOAD, asked, ended, past_job
from tests.preprocess.serve.browser import PHONE, OpenTab, serving

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000


@pytest.fixture
def url(root: Path) -> Iterator[str]:
    with serving(root) as address:
        yield address


@pytest.fixture
def tab(url: str, open_tab: OpenTab) -> Page:
    """A tab of a phone."""
    tab = open_tab(url, viewport=PHONE)
    tab.set_default_timeout(PATIENCE_MS)
    return tab


def state_of(tab: Page) -> Locator:
    return tab.locator("#job-facts .state")


def test_start_a_job_watch_it_end_and_see_it_listed(tab):
    tab.goto("/jobs")
    tab.get_by_role("link", name="New download").click()
    for option, value in {"lists": "list.csv", "source-dir": "videos", "out": "clips", "workers": "0"}.items():
        tab.locator(f"#option-{option}").fill(value)
    tab.get_by_role("button", name="Start").click()
    expect(tab).to_have_url(re.compile(r"/jobs/[0-9a-f]{16}$"))
    address = tab.url
    expect(state_of(tab)).to_have_text("finished", timeout=PATIENCE_MS)
    expect(tab.locator("#job-log")).to_contain_text(f"{CLIPS} rows = {CLIPS} done", timeout=PATIENCE_MS)
    expect(tab.locator("#job-facts")).to_contain_text(f"{CLIPS} of {CLIPS} clips")
    expect(tab.get_by_role("button", name="Run again")).to_be_visible()
    tab.get_by_role("link", name="All jobs").click()
    row = tab.locator(".job-table tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("finished")
    row.get_by_role("link").click()
    expect(tab).to_have_url(address)


def test_log_comes_in_while_the_job_runs(tab, root, pause_at):
    wait_for_pause = pause_at("preprocess.trim:trim:pause:2")
    job = Jobs(root).start("download", DOWNLOAD)
    tab.goto(f"/jobs/{job.id}")
    wait_for_pause()
    expect(state_of(tab)).to_have_text("running")
    with (root / ".kineflow-serve" / "jobs" / job.id / "log.txt").open("ab") as log:
        log.write(b"".join(b"line %d \xe2\x82\xac <b>\x1b[31m\x07\n" % i for i in range(5000)))
        log.flush()
        said = tab.locator("#job-log")
        expect(said).to_contain_text("line 4999 \u20ac <b>\\x07\n", timeout=PATIENCE_MS, use_inner_text=True)
        assert said.locator("b").count() == 0
        assert said.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 2
        said.evaluate("log => { log.scrollTop = 0; }")
        log.write(b"one more\n")
        log.flush()
        expect(said).to_contain_text("one more", timeout=PATIENCE_MS)
        assert said.evaluate("log => log.scrollTop") == 0  # who reads is left alone
    shown = said.inner_text()
    assert shown.count("line 0 ") == shown.count("one more") == 1
    tab.get_by_role("button", name="Cancel").click()
    expect(state_of(tab)).to_have_text("cancelled", timeout=PATIENCE_MS)
    expect(said).to_contain_text("run the same command again to go on")
    expect(tab.get_by_role("button", name="Resume")).to_be_visible()
    assert Jobs(root).find(job.id).state == "cancelled"


def test_forget_one_job_and_the_rest(tab, root):
    for number in range(3):
        past_job(root, f"{number:016x}")
    tab.goto(f"/jobs/{0:016x}")
    tab.get_by_role("button", name="Forget").click()
    expect(tab).to_have_url(re.compile(r"/jobs$"))
    expect(tab.locator(".job-table tbody tr")).to_have_count(2)
    tab.get_by_text("Forget all that ended").click()
    tab.get_by_role("button", name="Forget them").click()
    expect(tab.locator("#job-list")).to_have_text("No job has run yet.")
    assert Jobs(root).newest(1).total == 0
    past_job(root, f"{3:016x}")  # from elsewhere
    expect(tab.locator(".job-table tbody tr")).to_have_count(1)


def test_job_that_is_forgotten_elsewhere_is_told(url, browser, root):
    me = Process.of(os.getpid())
    asked(root, created=1e9, host="here", supervisor=me).write(root / ".kineflow-serve" / "jobs" / f"{0:016x}")
    tab = browser.new_page(base_url=url)  # not `open_tab`: the browser complains of what is refused
    tab.goto(f"/jobs/{0:016x}")
    expect(state_of(tab)).to_have_text("running")
    shutil.rmtree(root / ".kineflow-serve" / "jobs")
    expect(tab.locator("main")).to_contain_text("there is no job")
    tab.close()


def test_question_that_was_opened_stays_open_while_a_job_runs(tab, root, pause_at):
    past_job(root, f"{0:016x}")
    wait_for_pause = pause_at("preprocess.trim:trim:pause:1")
    job = Jobs(root).start("download", DOWNLOAD)
    wait_for_pause()
    tab.goto("/jobs")
    tab.get_by_text("Forget all that ended").click()
    Jobs(root).cancel(job.id)
    expect(tab.locator(".job-table")).to_contain_text("cancelled", timeout=PATIENCE_MS)
    tab.get_by_role("button", name="Forget them").click()
    expect(tab.locator("#job-list")).to_have_text("No job has run yet.")


def test_mistake_in_the_form(tab, root):
    tab.goto("/jobs/new/download")
    tab.locator("#option-lists").fill("list.csv")
    tab.locator("#option-out").fill("../elsewhere")
    tab.locator("#option-classes").fill("one\ntwo")
    with tab.expect_response(lambda answer: answer.request.method == "POST") as answer:
        tab.get_by_role("button", name="Start").click()
    assert answer.value.status == 422
    expect(tab.get_by_role("alert")).to_contain_text("without '..'")
    expect(tab.locator("#option-classes")).to_have_value("one\ntwo")
    assert Jobs(root).newest(1).total == 0


def test_pages_fit_a_phone(tab, root):
    job = ended(Jobs(root), Jobs(root).start("verify", {"shards": ["a-folder-with-a-very-long-name-" * 5]}))
    for path in ("/jobs", "/jobs/new/download", "/jobs/new/flow", f"/jobs/{job.id}"):
        tab.goto(path)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path
