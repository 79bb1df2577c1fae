"""The data set card of a folder of clips: as it was written, or made on the spot where that takes no time."""

import stat
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from preprocess.card.content import CARD_NAME, Card
from preprocess.card.making import make_card
from preprocess.errors import InvalidInput
from preprocess.outcomes import MANIFEST_NAME
from preprocess.regular_file import read_regular
from preprocess.serve.run_folders import RunFolder
from preprocess.wanted import LIST_INFO_NAME, LIST_NAME

MOST_MANIFEST_BYTES = 1 << 20
"""Of a larger manifest, `preprocess card` makes the card: a page must not wait for it."""
MOST_LIST_BYTES = 64 << 20
"""The same of a list: that of Kinetics-700 has 40 MB."""
MOST_CARD_BYTES = 16 << 20
"""Of a `card.json`: one of thousands of classes is smaller."""

_MADE_FROM = (MANIFEST_NAME, LIST_INFO_NAME, LIST_NAME)
_Versions = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, kw_only=True)
class CardView:
    """What there is to say of the data set in a folder."""

    card: Card | None
    notes: tuple[str, ...]
    """Why there is no card, or how good the one shown is."""


class Cards:
    """Cards that were made for pages, kept while what they are made from is the same; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Path, tuple[_Versions, CardView]] = {}

    def view(self, run: RunFolder) -> CardView:
        """The card of a run's folder."""
        manifest = _version(run.folder / MANIFEST_NAME)
        written = _version(run.folder / CARD_NAME)
        if written is not None:
            return self._read(run.folder, manifest, written)
        if manifest is None and _version(run.folder / LIST_INFO_NAME) is None:
            return CardView(card=None, notes=("there is no manifest or list yet, from which a card is made",))
        if manifest is not None and manifest[0] > MOST_MANIFEST_BYTES:
            return CardView(card=None, notes=(f"no card is written here yet; `preprocess card {run.name}` makes one",))
        return self._make(run.folder)

    def _read(self, folder: Path, manifest: tuple[int, int] | None, written: tuple[int, int]) -> CardView:
        try:
            card = Card.read(folder / CARD_NAME, read=partial(read_regular, most=MOST_CARD_BYTES))
        except InvalidInput as error:
            return CardView(card=None, notes=(str(error),))
        notes: tuple[str, ...] = ()
        if manifest is not None and manifest[0] > MOST_MANIFEST_BYTES:
            if manifest[1] > written[1]:  # which a copy of the folder may be as well
                notes = ("the manifest is newer than this card; if clips came since, `preprocess card` writes it anew",)
        elif manifest is not None:
            now = self._make(folder)
            if now.card is None:
                notes = now.notes
            elif now.card != card:
                notes = (
                    "the clips or their list changed since this card was written; `preprocess card` writes it anew",
                )
        return CardView(card=card, notes=notes)

    def _make(self, folder: Path) -> CardView:
        versions = tuple(_version(folder / name) for name in _MADE_FROM)
        with self._lock:
            known = self._made.get(folder)
            if known is None or known[0] != versions:
                known = self._made[folder] = (versions, _make(folder))
        return known[1]


def _make(folder: Path) -> CardView:
    for name in _MADE_FROM:
        # the card's own readers follow links, as people want who link their lists
        problem = _problem(folder / name)
        if problem:
            return CardView(card=None, notes=(f"{name} {problem}; `preprocess card` makes a card on a terminal",))
    try:
        return CardView(card=make_card(folder).card, notes=())
    except InvalidInput as error:
        return CardView(card=None, notes=(str(error),))


def _problem(path: Path) -> str:
    """Why a page does not read a file; empty where it can, or where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(found.st_mode):
        return "is a link or no file, which this server does not follow"
    return "" if found.st_size <= MOST_LIST_BYTES else f"has more than {MOST_LIST_BYTES} bytes"


def _version(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
