"""A visit to a server that shows nothing which only this machine has, and keeps pictures of what it sees."""

import socket
from collections.abc import Collection
from pathlib import Path

import cv2
from playwright.sync_api import Page, Route


class Visit:
    """A tab of a server.

    Args:
        tab: to look with.
        root: of the server; on the pictures it is `/data/motions`.
        site: address that videos come from; on the pictures it has no port.
        pictures: folder that pictures go to.
        kind: what the names of pictures end in.
        kept: names of the pages whose pictures are wanted.
    """

    def __init__(self, tab: Page, *, root: Path, site: str, pictures: Path, kind: str, kept: Collection[str]) -> None:
        self.tab = tab
        self._instead = {
            str(root): "/data/motions",
            f" on {socket.gethostname()}": " on server",
            site: site.rpartition(":")[0],
        }
        self._pictures = pictures
        self._kind = kind
        self._kept = kept
        tab.route("**/*", self._cover)

    def _cover(self, route: Route) -> None:
        if route.request.method != "GET" or route.request.resource_type not in {"document", "fetch"}:
            route.continue_()
            return
        answer = route.fetch()
        if not answer.headers.get("content-type", "").startswith(("text/", "application/json")):
            route.fulfill(response=answer)
            return
        text = answer.text()
        for ours, theirs in self._instead.items():
            text = text.replace(ours, theirs)
        route.fulfill(response=answer, body=text)

    def keep(self, name: str, *, most: int = 900) -> None:
        """A picture of the page, where it is wanted.

        Args:
            name: of the page.
            most: height that it is cut at, in pixels of the page.
        """
        if name not in self._kept:
            return
        self.tab.wait_for_load_state()
        assert self.tab.viewport_size is not None
        whole = self.tab.evaluate("document.querySelector('main').getBoundingClientRect().bottom + scrollY - 32")
        height = min(most, int(whole))
        self.tab.set_viewport_size({"width": self.tab.viewport_size["width"], "height": height})
        # neither a pointer nor a cursor is part of the page
        self.tab.mouse.move(0, 0)
        self.tab.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
        content = self.tab.screenshot(animations="disabled")
        path = self._pictures / f"{name}{self._kind}.png"
        path.write_bytes(content)
        picture = cv2.imread(str(path))
        assert len({tuple(color) for color in picture[:: height // 40].reshape(-1, 3)}) > 20, f"{name} is blank"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
