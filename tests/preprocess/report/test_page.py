import re
from base64 import b64decode
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from preprocess.report import pictures
from preprocess.report.content import Sampling
from preprocess.report.making import make_report
from tests.preprocess.report.shard_sets import LABELS, clip, picture, uniform, write_set

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"
VOID = {"meta", "img"}


class Tags(HTMLParser):
    """What a browser would see: names, attributes, and whether each tag is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text += data


def charts(tags):
    return [attributes["aria-label"] for tag, attributes in tags.found if tag == "svg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [clip(f"{HOSTILE} {number}", label=number % 3) for number in range(7)]
    failed = {f"lost {HOSTILE}": f"<script>alert(2)</script>{'x' * 300}", "lost too": "y" * 300}
    same = [clip(key, label=label, rgb=[picture(1)] * 8) for key, label in (("again", 2), ("again too", -1))]
    splits = {"train": [clips], "val": [[clip(f"still {HOSTILE}", flow=[uniform(0, 0)] * 30), *same]]}
    return write_set(tmp_path_factory.mktemp("shards"), splits, failed=failed)


@pytest.fixture(scope="module")
def page(folder):
    return make_report(folder).page


@pytest.fixture(scope="module")
def tags(page):
    return Tags(page)


def test_tags_are_closed(tags):
    assert tags.open == []


def test_text_from_elsewhere_is_text(page, tags):
    assert {tag for tag, _ in tags.found}.isdisjoint({"script", "i", "iframe", "object", "link", "base", "form"})
    assert not [attributes for _, attributes in tags.found if any(name.startswith("on") for name in attributes)]
    assert LABELS[2] in tags.text
    assert "tvl1 <i>" in tags.text
    assert r"lost <img src=x onerror=alert(1)>\x1b[2J" in tags.text
    assert f"<script>alert(2)</script>{'x' * 272}...\n" in tags.text
    assert f"{'y' * 300}\n" in tags.text
    assert "\x1b" not in page


def test_nothing_is_fetched_from_elsewhere(page, tags):
    for tag, attributes in tags.found:
        for name in ("src", "href", "srcset", "data", "poster", "background", "action"):
            if name in attributes:
                expected = r"#\w+" if tag == "a" else r"data:image/(jpeg|png);base64,[\w+/]+=*"
                assert re.fullmatch(expected, attributes[name]), (tag, attributes[name][:80])
    assert "url(" not in page
    assert "@import" not in page
    policy = [attributes["content"] for tag, attributes in tags.found if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_section_that_is_linked_is_there(tags):
    places = {attributes["id"] for _, attributes in tags.found if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in tags.found if tag == "a"}
    assert links <= places
    assert len(links) == 10


def test_charts_are_of_all_clips_and_of_each_split(tags):
    titles = (
        "pixels by speed, px a frame; height is logarithmic, from a millionth to all",
        "clips by the share that the camera explains",
        "clips by mean bytes of a frame",
        "clips by mean bytes of a flow field",
        "clips by their number of frames",
        "classes by their number of clips",
    )
    assert charts(tags) == [f"{part}: {title}" for title in titles for part in ("all", "train", "val")]
    heights = [float(attributes["height"]) for tag, attributes in tags.found if tag == "rect"]
    assert 100 < min(heights[:2]) < max(heights[:2]) < 120  # 63 of 93 fields move at 1 px, the others do not


def test_what_is_sampled_says_so(folder):
    tags = Tags(make_report(folder, sampling=Sampling(clips=1)).page)
    assert "1 of 10 clips" in tags.text
    assert sum("speed" in title for title in charts(tags)) == 2


def test_pictures_are_a_frame_beside_its_flow(tags):
    (source,) = {attributes["src"] for _, attributes in tags.found if "still" in attributes.get("alt", "")}
    content = np.frombuffer(b64decode(source.split(",")[1]), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    assert picture.shape == (96, 2 * 128 + 2, 3)
    # no motion is white
    assert picture[:, 140:].min() > 240
    assert picture[:, :120].mean() < 200
    assert ": still for 1.2 s, in all 100 %, full colour 1 px" in tags.text


def test_contact_sheets_have_so_many_clips_of_each_class_and_split(folder):
    shown = [len(re.findall("<figure>", make_report(folder, sampling=Sampling(per_class=n)).page)) for n in (0, 1, 2)]
    # train has three classes of 3, 2 and 2 clips, val one of each of three
    assert [count - shown[0] for count in shown] == [0, 6, 9]


def test_contact_sheets_keep_within_their_budget(folder, monkeypatch):
    def sheets():
        page = make_report(folder).page
        return [b64decode(text) for text in re.findall('jpeg;base64,([^"]+)', page[page.index('id="sheets"') :])]

    monkeypatch.setattr(pictures, "BUDGET", 60_000)
    assert len(sheets()) == 10
    monkeypatch.setattr(pictures, "BUDGET", 8_000)
    assert 0 < sum(map(len, sheets())) <= 8_000


def test_many_classes_are_folded(tmp_path):
    labels = tuple(f"class {number}" for number in range(13))
    for count in (12, 13):
        clips = [clip(f"{number}", label=number) for number in range(count)]
        folder = write_set(tmp_path / f"{count}", {"train": [clips]}, labels=labels)
        page = make_report(folder).page
        assert ("<details open>" in page) == (count == 12)
        assert Tags(page).open == []
        assert {title.partition(": ")[0] for title in charts(Tags(page))} == {"train"}  # one split is all there is
