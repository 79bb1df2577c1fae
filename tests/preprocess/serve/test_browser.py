"""The pages in a browser: a clip plays, failures are filtered, a wrong token, the keyboard, dark mode, a phone."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from preprocess.flow.quantise import dequantise
from preprocess.flow_color import flow_to_color
from preprocess.outcomes import Outcome
from preprocess.shards import Shard
from tests.pipelines.tiny_shards import flat_clip, textured_clip, write_set
from tests.preprocess.clip_folders import clip, done, failed
from tests.preprocess.serve.browser import ELSEWHERE, PHONE, canvas_of, serving
from tests.preprocess.serve.small_root import KEYS, TOKEN, append, make_root

pytestmark = pytest.mark.browser

FRAMES = 40
PAGES = {"runs": "/", "clips": "/clips", "failures": "/failures", "dataset": "/dataset", "clip": f"/clip?key={KEYS[0]}"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("root"))
    for number in range(10, 30):
        cause = "removed" if number % 2 else "copyright"
        append(root, [failed(clip(number), Outcome.UNAVAILABLE, cause, f"{cause} since 20{number}")])
    append(root, [done(clip(number, label="archery")) for number in range(30, 100)])
    made = [textured_clip(KEYS[0], label=1, frames=FRAMES, size=(48, 64)), flat_clip(KEYS[1], label=1, frames=FRAMES)]
    write_set(root / "shards", {"train": [made]})
    return root


@pytest.fixture(scope="module")
def url(small):
    with serving(small) as address:
        yield address


def frame_of(tab: Page) -> int:
    return int(tab.locator("#counter").inner_text().split(" / ")[0])


def ready(tab: Page, key: str) -> None:
    tab.goto(f"/clip?key={key}")
    expect(tab.locator("#play")).to_be_enabled()


def test_a_clip_plays(url, open_tab):
    tab = open_tab(url)
    ready(tab, KEYS[0])
    assert frame_of(tab) == 1
    first = {name: canvas_of(tab, name) for name in ("rgb", "flow")}
    for picture in first.values():
        assert len(set(picture)) > 20, "blank"
    tab.get_by_role("button", name="Play").click()
    expect(tab.locator("#counter")).to_have_text(re.compile(r"^(1\d|2\d|3\d) / 40$"))
    tab.get_by_role("button", name="Pause").click()
    tab.wait_for_timeout(200)
    shown = frame_of(tab)
    assert canvas_of(tab, "rgb") != first["rgb"]
    assert canvas_of(tab, "flow") != first["flow"]
    tab.wait_for_timeout(300)
    assert frame_of(tab) == shown, "it goes on though it is paused"


def test_a_clip_plays_when_the_screen_lags_behind(url, open_tab):
    tab = open_tab(url)
    tab.add_init_script("requestAnimationFrame = show => setTimeout(() => show(performance.now() - 300), 10)")
    ready(tab, KEYS[0])
    tab.get_by_role("button", name="Play").click()
    expect(tab.locator("#counter")).to_have_text(re.compile(r"^[1-3]\d / 40$"))
    expect(tab.locator("#play")).to_have_text("Pause")
    expect(tab.locator("#message")).to_be_empty()


def test_colours_are_those_of_the_wheel(url, open_tab):
    """Of a clip whose flow t is u = t, v = -2 t codes everywhere, and whose frame t has gray level 6 t."""
    tab = open_tab(url)
    ready(tab, KEYS[1])
    for px in (5, 20):
        tab.locator("#magnitude").select_option(str(px))
        for number in (0, 7, 30):
            tab.locator("#scrub").fill(str(number))
            expect(tab.locator("#counter")).to_have_text(f"{number + 1} / {FRAMES}")
            red, green, blue, _ = canvas_of(tab, "flow")[:4]
            flow = dequantise(np.array([128 + number, 128 - 2 * number], np.uint8)).reshape(2, 1, 1)
            expected = flow_to_color(flow, max_magnitude=px)[0, 0]
            assert np.abs(np.array([red, green, blue], int) - expected).max() <= 12, (px, number)  # JPEG: a code or two
            gray = canvas_of(tab, "rgb")[0]
            assert abs(gray - 6 * number) <= 3


def test_the_keyboard(url, open_tab):
    tab = open_tab(url)
    tab.goto("/clips")
    tab.keyboard.press("Tab")
    expect(tab.locator(".skip")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.locator("#main")).to_be_focused()
    tab.keyboard.press("/")
    expect(tab.locator("#search")).to_be_focused()
    tab.keyboard.type(KEYS[0])
    tab.keyboard.press("Enter")
    expect(tab.locator("table.clips tbody tr")).to_have_count(1)
    tab.locator("a.key").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#play")).to_be_enabled()
    for key, frame in {"ArrowRight": 2, "End": FRAMES, "ArrowLeft": FRAMES - 1, "Home": 1}.items():
        tab.keyboard.press(key)
        expect(tab.locator("#counter")).to_have_text(f"{frame} / {FRAMES}")
    tab.keyboard.press(" ")
    expect(tab.locator("#play")).to_have_text("Pause")
    tab.keyboard.press(" ")
    expect(tab.locator("#play")).to_have_text("Play")


def test_statistics_come_after_the_page(url, open_tab):
    tab = open_tab(url)
    ready(tab, KEYS[0])
    expect(tab.locator("#statistics")).to_contain_text(f"{FRAMES - 1} of {FRAMES - 1} fields")


def test_failures_are_filtered(url, open_tab):
    tab = open_tab(url)
    tab.goto("/failures")
    expect(tab.locator("#count")).to_contain_text("22 clips")
    tab.locator("#cause").select_option("copyright")
    tab.get_by_role("button", name="Show").click()
    expect(tab.locator("#count")).to_contain_text("10 clips")
    expect(tab.locator("table.messages tbody tr")).to_have_count(1)
    expect(tab.locator("table.failures tbody")).to_contain_text("--retry unavailable")
    tab.locator("table.messages .num a").click()
    expect(tab.locator("table.clips tbody tr")).to_have_count(10)


def test_pages_of_clips(url, open_tab):
    tab = open_tab(url)
    tab.goto("/clips?outcome=done")
    keys = tab.locator("a.key").all_inner_texts()
    while tab.locator("a[rel=next]").count():
        tab.locator("a[rel=next]").click()
        keys += tab.locator("a.key").all_inner_texts()
    assert keys == sorted({*KEYS[:3], *(clip(number).key for number in range(30, 100))})


def test_a_wrong_token_and_the_right_one(small, open_tab, tmp_path):
    with serving(small, token=TOKEN, index=tmp_path / "index.sqlite") as address:
        tab = open_tab(address)
        tab.goto("/clips")
        expect(tab).to_have_url(f"{address}/login")
        for token in ("wrong", TOKEN):
            tab.get_by_label("Token").fill(token)
            tab.get_by_role("button", name="Sign in").click()
            if token == "wrong":
                expect(tab.get_by_role("alert")).to_have_text("That is not the token.")
        expect(tab).to_have_url(f"{address}/")
        tab.goto(PAGES["clip"])
        expect(tab.locator("#play")).to_be_enabled()
        assert TOKEN not in str(tab.context.cookies()) + tab.content()
        tab.get_by_role("button", name="Sign out").click()
        expect(tab).to_have_url(f"{address}/login")
        tab.goto("/clips")
        expect(tab).to_have_url(f"{address}/login")


def test_signing_in_from_another_machine(small, browser, tmp_path):
    with serving(small, token=TOKEN, names=(ELSEWHERE,), index=tmp_path / "index.sqlite") as address:
        # not `open_tab`: there the browser complains that it ignores headers which are for TLS only
        context = browser.new_context(base_url=address.replace("127.0.0.1", ELSEWHERE))
        tab = context.new_page()
        tab.goto("/login")
        tab.get_by_label("Token").fill(TOKEN)
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.get_by_role("heading", name="Runs")).to_be_visible()
        context.close()


def brightness(tab: Page) -> int:
    color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3])


def test_dark_and_light(url, open_tab):
    for scheme, is_bright in (("light", True), ("dark", False)):
        tab = open_tab(url, color_scheme=scheme)
        tab.goto("/")
        assert (brightness(tab) > 600) == is_bright
        tab.locator("#theme").click()
        assert (brightness(tab) > 600) != is_bright
        tab.goto("/clips")
        assert (brightness(tab) > 600) != is_bright, "the choice is forgotten"


def test_runs_renew_themselves(tmp_path, open_tab):
    root = make_root(tmp_path)
    with serving(root) as address:
        tab = open_tab(address)
        tab.goto("/")
        link = tab.locator("article").first.locator("a", has_text="temporary")
        expect(link).to_have_text("temporary 1", timeout=20_000)
        append(root, [failed(clip(200), Outcome.TEMPORARY, "timeout", "late")])
        expect(link).to_have_text("temporary 2", timeout=20_000)
        # the last request must not meet a server that is gone
        tab.goto("about:blank")


def test_what_is_damaged_or_gone_meanwhile_is_told(tmp_path, browser, monkeypatch):
    monkeypatch.setattr("preprocess.serve.runs.FIND_EVERY_S", 0.1)
    root = make_root(tmp_path)
    path = root / "shards" / "train-00000-of-00002.h5"
    field = Shard(path).jpeg("flow", 0).tobytes()
    path.write_bytes(path.read_bytes().replace(field, bytes(len(field))))
    with serving(root) as address:
        tab = browser.new_page(base_url=address)  # not `open_tab`: the browser complains of what is refused
        tab.goto("/")
        expect(tab.locator("article")).to_have_count(2)
        tab.goto(PAGES["clip"])
        expect(tab.locator("#statistics")).to_contain_text("no whole JPEG")
        tab.goto("/")
        tab.get_by_role("link", name="clips", exact=True).click()
        (root / "clips").rename(root / ".clips")
        expect(tab.locator("main")).to_contain_text("there is no such run (any more)")
        tab.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("options", [{}, {"viewport": PHONE}], ids=["desktop", "phone"])
def test_every_page_fits(url, open_tab, name, options):
    tab = open_tab(url, **options)
    tab.goto(PAGES[name])
    tab.wait_for_load_state("networkidle")
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= (options.get("viewport") or {"width": 1280})["width"]
