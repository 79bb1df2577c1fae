"""A browser, its tabs, and servers for them to look at."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from preprocess.serve.app import create_app
from preprocess.serve.config import ServeConfig
from preprocess.serve.server import listen
from tests.conftest import CHROMIUM

PHONE = {"width": 360, "height": 740}
ELSEWHERE = "kineflow.example"
"""Name of this machine that browsers take for another one, which they trust less without TLS."""
OpenTab = Callable[..., Page]

_REFUSED = ("status of 403", "status of 422")  # what a test asks to be refused is no complaint


@contextmanager
def serving(root: Path, **config) -> Iterator[str]:
    """The address of a server on a root, in this process."""
    settings = ServeConfig(root=root, port=0, **config)
    with listen(settings) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # not for the whole session: Playwright's event loop would be that of all tests
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[OpenTab]:
    with tabs_of(browser) as open_:
        yield open_


@contextmanager
def tabs_of(browser: Browser) -> Iterator[OpenTab]:
    """Opens tabs of their own on an address; fails when a page of one complains."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def open_(url: str, **options) -> Page:
        context = browser.new_context(base_url=url, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(refused in text for refused in _REFUSED)] == []


def canvas_of(tab: Page, name: str) -> list[int]:
    """The colours of a canvas: red, green, blue and alpha of every pixel, one after the other."""
    return tab.evaluate(
        "id => { const c = document.getElementById(id);"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }",
        name,
    )
