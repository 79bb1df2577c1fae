"""The product as somebody uses it who has a list and a browser: two jobs from their forms, then every page.

SCREENSHOTS=FOLDER keeps the pictures there; `make screenshots` makes those of docs/serve.md.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from preprocess.sample import MOTIONS
from tests.preprocess.conftest import serving as site_serving
from tests.preprocess.serve.browser import PHONE, canvas_of, tabs_of
from tests.preprocess.serve.motion_root import DONE, FAILED, FRAMES, REFUSED, make_motion_root
from tests.preprocess.serve.server_process import serving
from tests.preprocess.serve.visit import Visit

pytestmark = pytest.mark.browser

PATIENCE_MS = 120_000
DESK = {"viewport": {"width": 1000, "height": 800}}
KINDS = {
    "": {**DESK, "color_scheme": "light"},
    "-dark": {**DESK, "color_scheme": "dark"},
    "-phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 1.5},
}
KEPT = {
    "": ["form", "runs", "clips", "clip", "failures", "dataset", "jobs", "job"],
    "-dark": ["clip"],
    "-phone": ["clips"],
}
"""Pages whose pictures docs/serve.md has."""
LOST = sum(FAILED.values())
SHARDS = 4
SHOWN_FRAME = 30
"""Of the clip that is played, from 1."""


@dataclass(frozen=True)
class Site:
    """A server with something to see."""

    visit: Callable[..., Visit]
    """Opens a tab of a kind."""
    template: str
    """For `--url-template`."""


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("root")
    pictures = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    videos = make_motion_root(root, site=tmp_path_factory.mktemp("site"))
    with site_serving(videos), serving(root) as (_, address), tabs_of(browser) as open_tab:
        visits = []

        def visit(kind: str = "") -> Visit:
            tab = open_tab(address, **KINDS[kind])
            tab.set_default_timeout(PATIENCE_MS)
            visits.append(Visit(tab, root=root, site=videos.url, pictures=pictures, kind=kind, kept=KEPT[kind]))
            return visits[-1]

        yield Site(visit, videos.template)
        for one in visits:
            one.tab.goto("about:blank")  # no request meets a server that is gone


@pytest.fixture(scope="module")
def made(site: Site) -> Site:
    """The same with clips and shards, made by jobs from its pages."""
    visit = site.visit()
    download(visit, template=site.template)
    flow(visit)
    return site


def start(visit: Visit, command: str, **options: str) -> None:
    tab = visit.tab
    tab.goto("/jobs")
    tab.get_by_role("link", name=f"New {command}").click()
    for name, value in options.items():
        tab.locator(f"#option-{name.replace('_', '-')}").fill(value)
    if command == "download":
        visit.keep("form", most=760)
    tab.get_by_role("button", name="Start").click()
    expect(state_of(visit)).to_have_text("running")


def state_of(visit: Visit) -> Locator:
    return visit.tab.locator("#job-facts .state")


def download(visit: Visit, *, template: str) -> None:
    start(visit, "download", lists="motions.csv", out="clips", url_template=template, workers="0")
    expect(state_of(visit)).to_have_text("finished with failures", timeout=PATIENCE_MS)
    whole = f"{DONE + LOST + REFUSED} rows = {DONE} done + 5 unavailable + 3 bad_media + {REFUSED} refused"
    expect(visit.tab.locator("#job-log")).to_contain_text(whole, timeout=PATIENCE_MS)


def flow(visit: Visit) -> None:
    shards = {"clips_per_shard": str(DONE // SHARDS), "short_side": "144"}
    start(visit, "flow", clips="clips", out="shards", cpus="0", **shards)
    facts = visit.tab.locator("#job-facts")
    expect(facts).to_contain_text(re.compile(rf"[1-9]\d* of {DONE} clips"), timeout=PATIENCE_MS)
    visit.tab.goto("/")
    # where it takes no time it is finished by now
    expect(visit.tab.locator("article").last).to_contain_text(
        re.compile(r"left\d+ s|flow finished"), timeout=PATIENCE_MS
    )
    visit.keep("runs")
    visit.tab.go_back()
    expect(state_of(visit)).to_have_text("finished", timeout=PATIENCE_MS)
    expect(facts).to_contain_text(f"{DONE} of {DONE} clips")


def assert_loaded(pictures: Locator, *, count: int) -> None:
    expect(pictures).to_have_count(count)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()  # some are loaded only then
        picture.evaluate("picture => picture.decode()")


def see_runs(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/")
    articles = tab.locator("article")
    for number, outcomes in enumerate((f"done {DONE}\nunavailable 5\nbad media 3", f"done {DONE}")):
        # the index follows within seconds
        expect(articles.nth(number).locator(".legend")).to_have_text(outcomes, use_inner_text=True, timeout=PATIENCE_MS)
    expect(tab.locator(".note, .problem:visible")).to_have_count(0)
    expect(articles.last).to_contain_text(f"{SHARDS} of {SHARDS}")


def see_clips(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/clips")
    expect(tab.locator("#count")).to_have_text(f"{DONE + LOST} clips")
    assert_loaded(tab.locator("table.clips img"), count=DONE)
    visit.keep("clips", most=760)


def see_clip(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/clips?label=rotating+clockwise&outcome=done")
    tab.locator("a.key").first.click()
    expect(tab.locator("#play")).to_be_enabled()
    first = {canvas: canvas_of(tab, canvas) for canvas in ("rgb", "flow")}
    tab.get_by_role("button", name="Play").click()
    expect(tab.locator("#counter")).not_to_have_text(f"1 / {FRAMES}")
    tab.get_by_role("button", name="Pause").click()
    tab.locator("#scrub").fill(str(SHOWN_FRAME - 1))
    expect(tab.locator("#counter")).to_have_text(f"{SHOWN_FRAME} / {FRAMES}")
    for canvas, before in first.items():
        shown = canvas_of(tab, canvas)
        assert len(set(shown)) > 50, f"{canvas} is blank"
        assert shown != before, f"{canvas} stands still"
    assert_loaded(tab.locator(".wheel img"), count=1)
    expect(tab.locator("#statistics")).to_contain_text(f"{FRAMES - 1} of {FRAMES - 1} fields")
    visit.keep("clip", most=880)


def see_failures(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/failures")
    rows = tab.locator("table.failures tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(' ', '_')))"
    )
    assert {(outcome, cause): int(clips) for outcome, cause, _, clips, _ in rows} == FAILED
    expect(tab.locator("table.messages tbody tr")).to_have_count(len(FAILED))
    visit.keep("failures")


def see_dataset(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/dataset")
    expect(tab.locator("main")).to_contain_text(f"{DONE} of {DONE + LOST} wanted")
    expect(tab.locator("table.classes tbody tr")).to_have_count(len(MOTIONS))
    visit.keep("dataset", most=1100)


def see_jobs(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/jobs")
    expect(tab.locator(".job-table .state")).to_have_text(["finished", "finished with failures"])
    visit.keep("jobs")


def see_job(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/jobs")
    tab.locator(".job-table tbody tr").last.get_by_role("link").click()
    expect(tab.locator("#job-facts")).to_contain_text(f"{DONE + LOST} of {DONE + LOST} clips")
    expect(tab.locator("#job-log")).to_contain_text("HTTP Error 404: Not Found")
    visit.keep("job")


PAGES = (see_runs, see_clips, see_clip, see_failures, see_dataset, see_jobs, see_job)


@pytest.mark.parametrize(
    ("kind", "pages"), [("", PAGES), ("-dark", [see_clip]), ("-phone", PAGES)], ids=["light", "dark", "phone"]
)
def test_every_page_has_what_the_jobs_made(made, kind, pages):
    visit = made.visit(kind)
    for see in pages:
        see(visit)
        visit.tab.wait_for_load_state()  # of the style
        width = visit.tab.evaluate("document.documentElement.scrollWidth")
        assert width <= visit.tab.viewport_size["width"], f"{see.__name__}: to be scrolled sideways"
