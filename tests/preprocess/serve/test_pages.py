"""Pages as a browser gets them, without a browser."""

import json
import os
import re
import shutil
import time
from dataclasses import replace

import pytest

from preprocess.card.content import CARD_NAME
from preprocess.card.making import make_card
from preprocess.errors import EnvironmentProblem
from preprocess.limiter import Pause
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.paths import exclusive
from preprocess.shards.index import Index
from preprocess.shards.layout import ShardAttributes
from preprocess.shards.write import write_shard
from preprocess.status.run_status import RunStatus
from preprocess.wanted import LIST_NAME, Wanted
from tests.pipelines.tiny_shards import LABELS, textured_clip
from tests.preprocess.clip_folders import clip, done, failed, write_folder
from tests.preprocess.serve.small_root import CLIPS, EVIL, FORM, KEYS, SIZE, append, client_of, make_root, run_of

ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
HTML = {"Accept": "text/html"}


@pytest.fixture
def small(tmp_path):
    return make_root(tmp_path)


def test_runs_say_what_they_hold(small):
    page = client_of(small).get("/").text
    for text in ("clips", "shards", "unavailable <b>1</b>", "done <b>3</b>", "Disk left"):
        assert text in page


def test_runs_say_how_far_they_are(small):
    status = RunStatus(small / "clips", command="download", total=10, already={})
    status.count("done", source="youtube")
    pause = Pause(identity="youtube", until=4e9, reason=f"a wall {EVIL}")
    status.publish(state="paused", pauses=(pause,))
    client = client_of(small)
    # no process holds the folder
    assert "download stopped" in client.get("/").text
    assert "In the folder:" in client.get("/").text
    with exclusive(small / "clips"):
        page = client.get("/fragments/runs").text
    for text in ("download paused", "1 of 10 clips", "10.0 %", "<b>youtube</b> is left alone until", ESCAPED):
        assert text in page
    assert EVIL not in page


def test_run_that_has_finished_has_one_bar(small):
    status = RunStatus(small / "clips", command="download", total=1, already={})
    status.count("done", source="youtube")
    status.publish(state="finished")
    client = client_of(small)
    page = client.get(f"/runs/{run_of(client, 'clips')}").text
    assert "1 of 1 clips" in page
    assert page.count('<svg class="stack"') == 1
    assert "<progress" not in page


def test_run_of_shards_that_goes_on_is_not_said_to_lack_its_index(small):
    (small / "shards" / "index.json").unlink()
    status = RunStatus(small / "shards", command="flow", total=9, already={})
    status.publish(state="running")
    client = client_of(small)
    assert "is not written yet" in client.get("/").text
    with exclusive(small / "shards"):
        assert "is not written yet" not in client.get("/").text


def test_one_run(small):
    client = client_of(small)
    page = client.get(f"/runs/{run_of(client, 'shards')}").text
    assert "Shards</dt><dd>2" in page
    assert "unavailable" not in page
    assert client.get("/runs/000000000000").status_code == 404


def test_outcomes_over_time_are_drawn(small):
    client = client_of(small)
    for number in range(6, 9):
        append(small, [done(clip(number))])
        client.app.state.index.catch_up()
    page = client.get("/").text
    assert page.count("<polygon") == 3  # done, unavailable, temporary
    assert "manifests have no times" in page


def test_a_damaged_shard_and_line_are_shown_and_the_rest_works(small):
    append(small, [b"torn\n"])
    path = small / "shards" / "train-00000-of-00002.h5"
    path.write_bytes(bytes(600) + path.read_bytes()[600:])
    client = client_of(small)
    page = client.get("/").text
    assert "Damaged: 1 line of the manifest. The rest works" in page
    assert "Damaged: 1 shard. The rest works" in page
    assert path.name in page
    assert KEYS[1] in client.get("/clips").text
    assert client.get("/clip", params={"key": KEYS[1]}).text.count("<canvas") == 2
    assert client.get("/clip", params={"key": KEYS[0]}).text.count("<canvas") == 0


def test_a_damaged_status_is_said(small):
    (small / "clips" / "status.json").write_text("{")
    assert "is not JSON" in client_of(small).get("/").text


def test_clips_are_escaped_and_linked(small):
    page = client_of(small).get("/clips").text
    assert EVIL not in page
    assert page.count(f">{ESCAPED}</a>") == 1
    assert re.findall(r'class="key" href="/clip\?key=(\w+)"', page) == KEYS
    assert page.count("/media/thumbnail?") == 2


def test_a_clip_that_a_shard_was_made_without_has_no_picture(small):
    attributes = ShardAttributes(short_side=48, labels=LABELS, failed={KEYS[1]: "no frame in 5 s"})
    clip = textured_clip(KEYS[0], label=0, frames=3, size=SIZE)
    info = write_shard(small / "shards" / "train-00000-of-00001.h5", [clip], attributes)
    Index(config={}, labels=LABELS, shards=(info,)).write(small / "shards")
    page = client_of(small).get("/clips").text
    assert re.findall(r"/media/thumbnail\?run=\w+&amp;key=(\w+)", page) == KEYS[:1]


def test_a_cell_of_a_clip_tells_all_its_runs(small):
    write_folder(small / "more", CLIPS[4:], [failed(CLIPS[4], Outcome.TEMPORARY, "server_error")])
    _, _, first, *_, last = client_of(small).get("/clips").text.split("<tr>")
    assert "clips, shards" in first
    assert "clips, more" in last
    assert "temporary <small>timeout,</small> <small>server error</small>" in last


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("outcome=done", KEYS[:3]),
        ("split=val&outcome=", KEYS[3:]),
        ("label=zumba", KEYS[2:3]),
        ("unlabelled=1", KEYS[4:]),
        ("cause=timeout", KEYS[4:]),
        (f"q={KEYS[1]}", KEYS[1:2]),
        ("q=zum", KEYS[2:3]),
        (f"after={KEYS[2]}", KEYS[3:]),
        ("q=%F0%9F%A4%B7", []),
    ],
)
def test_filters(small, query, keys):
    page = client_of(small).get(f"/clips?{query}").text
    assert re.findall(r'class="key" href="/clip\?key=(\w+)"', page) == keys


def test_next_page_keeps_the_filters_and_its_length(small):
    client = client_of(small)
    pages = [client.get("/clips", params={"outcome": "done", "limit": 1, "label": ""}).text]
    while following := re.search(r'rel="next" href="([^"]+)"', pages[-1]):
        pages.append(client.get(following[1].replace("&amp;", "&")).text)
    assert [re.findall(r'class="key" href="/clip\?key=(\w+)"', page) for page in pages] == [[key] for key in KEYS[:3]]


def test_a_clip_shows_its_history(small):
    page = client_of(small).get("/clip", params={"key": KEYS[3]}).text
    assert EVIL not in page
    assert [page.index(text) for text in ("private", "HTTP 502", "HTTP Error 503")] == sorted(
        page.index(text) for text in ("private", "HTTP 502", "HTTP Error 503")
    )
    assert "<canvas" not in page


def test_a_clip_shows_every_attribute_of_its_shard(small):
    page = client_of(small).get("/clip", params={"key": KEYS[0]}).text
    for text in ("Flow codes a pixel", "6.35", "JPEG quality of flow", "\u00b120 px", "train-00000-of-00002.h5, row 0"):
        assert text in page


def test_unknown_clips(small):
    client = client_of(small)
    for key in ("nope", "../../etc/passwd", "%00", "\u20ac", EVIL):
        answer = client.get("/clip", params={"key": key}, headers=HTML)
        assert answer.status_code == 404
        assert EVIL not in answer.text
    assert client.get("/clip", headers=HTML).status_code == 422


def test_a_manifest_that_changed_under_the_index(small):
    client = client_of(small)
    path = small / "clips" / MANIFEST_NAME
    path.write_bytes(b"x" * 50 + path.read_bytes())
    answer = client.get("/clip", params={"key": KEYS[2]})
    assert answer.status_code == 200
    assert "torn or changed" in answer.text


def test_failures_by_cause_and_message(small):
    for number in range(10, 13):
        one = clip(number)
        append(small, [failed(one, Outcome.UNAVAILABLE, "removed", f"a.mp4: gone since 20{number}, {one.youtube_id}")])
    client = client_of(small)
    page = client.get("/failures").text
    assert EVIL not in page
    assert ESCAPED in page.replace("alert(*)", "alert(1)")
    assert "a.mp4: gone since *, *" in page
    assert "<code>--retry unavailable</code>" in page
    assert "without an option" in page
    (address,) = re.findall(r'href="(/clips\?message=\d+)">3</a>', page)
    page = client.get(address).text
    assert clip(11).key in page
    assert f'name="message" value="{address.rpartition("=")[2]}"' in page  # a search stays within
    assert "gone since" not in client.get("/failures?outcome=temporary&run=&cause=").text


def test_nothing_failed(tmp_path):
    shutil.copytree(make_root(tmp_path / "a") / "shards", tmp_path / "b" / "shards")
    assert "Nothing failed" in client_of(tmp_path / "b").get("/failures").text


def test_dataset_shows_the_card_and_writes_nothing(small):
    client = client_of(small)
    before = sorted(small.rglob("*"))
    page = client.get("/dataset").text
    assert "3 of 5 wanted" in page
    assert ESCAPED in page
    assert EVIL not in page
    assert sorted(small.rglob("*")) == before


def _aged(path, *, seconds):
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns - seconds * 10**9))


def test_dataset_of_a_run_that_was_stopped_before_its_first_clip(small):
    (small / "clips" / MANIFEST_NAME).unlink()
    assert f"0 of {len(CLIPS)} wanted" in client_of(small).get("/dataset").text


def test_dataset_with_a_written_card(small):
    make_card(small / "clips").write(small / "clips")
    client = client_of(small)
    assert "3 of 5 wanted" in client.get("/dataset").text
    _aged(small / "clips" / CARD_NAME, seconds=60)  # as in a copy of the folder, whose files may be of any order
    assert "this card" not in client.get("/dataset").text
    append(small, [done(CLIPS[4])])
    _aged(small / "clips" / MANIFEST_NAME, seconds=120)
    assert "changed since this card was written" in client.get("/dataset").text
    make_card(small / "clips").write(small / "clips")
    assert "this card" not in client.get("/dataset").text


def test_dataset_with_a_card_that_nothing_is_compared_with(small):
    make_card(small / "clips").write(small / "clips")
    (small / "clips" / LIST_NAME).rename(small / "elsewhere.csv")
    (small / "clips" / LIST_NAME).symlink_to(small / "elsewhere.csv")
    page = client_of(small).get("/dataset").text
    assert "3 of 5 wanted" in page
    assert f"{LIST_NAME} is a link or no file" in page


def test_dataset_of_another_list(small):
    client = client_of(small)
    assert "3 of 5 wanted" in client.get("/dataset").text
    wanted = Wanted.read(small / "clips")
    replace(wanted, clips=wanted.clips[:4]).write(small / "clips")
    assert "3 of 4 wanted" in client.get("/dataset").text


def test_dataset_of_a_large_manifest_with_a_card_goes_by_the_time(small, monkeypatch):
    monkeypatch.setattr("preprocess.serve.data_set.MOST_MANIFEST_BYTES", 10)
    monkeypatch.setattr("preprocess.serve.data_set.make_card", lambda folder: pytest.fail("made"))
    make_card(small / "clips").write(small / "clips")
    client = client_of(small)
    page = client.get("/dataset").text
    assert "3 of 5 wanted" in page
    assert "newer than this card" not in page
    _aged(small / "clips" / CARD_NAME, seconds=60)
    assert "the manifest is newer than this card" in client.get("/dataset").text


def test_dataset_of_a_large_manifest_waits_for_the_card(small, monkeypatch):
    monkeypatch.setattr("preprocess.serve.data_set.MOST_MANIFEST_BYTES", 10)
    page = client_of(small).get("/dataset").text
    assert "preprocess card clips" in page
    assert "zumba" in page


def test_dataset_of_shards(small):
    client = client_of(small)
    page = client.get(f"/dataset?run={run_of(client, 'shards')}").text
    assert "no card of their own" in page
    assert "yoga" in page


def test_a_root_with_a_list_only(tmp_path):
    (tmp_path / "list.csv").write_text("")
    client = client_of(tmp_path)
    for path in ("/", "/clips", "/failures", "/dataset"):
        assert client.get(path).status_code == 200
    assert "No run has written" in client.get("/").text


def test_a_run_that_is_gone_does_not_renew_itself_as_all_runs(small):
    client = client_of(small)
    assert client.get("/fragments/runs", params={"run": run_of(client, "clips")}).status_code == 200
    assert client.get("/fragments/runs", params={"run": "0" * 12}).status_code == 404
    assert client.get("/fragments/runs?run=").status_code == 200


def test_pages_say_that_the_index_is_behind(small):
    client = client_of(small)
    append(small, [b'{"key": "not finished'])
    client.app.state.index.catch_up()
    for path in ("/", "/clips", "/failures", "/dataset"):
        assert "Index: " not in client.get(path).text, "nothing more shows up of a line that a kill tore"
    client.app.state.index._db.execute("UPDATE run SET bytes = bytes + 1")
    for path in ("/", "/clips", "/failures", "/dataset"):
        assert "Index: " in client.get(path).text


def test_statistics_of_the_flow(small):
    client = client_of(small)
    run = run_of(client, "shards")
    page = client.get("/fragments/statistics", params={"run": run, "key": KEYS[0]}).text
    assert "5 of 5 fields" in page
    assert page.count("<rect") == 80
    assert client.get("/fragments/statistics", params={"run": run, "key": KEYS[2]}).status_code == 404


def test_a_root_that_is_gone_is_said_and_not_made_anew(tmp_path):
    root = make_root(tmp_path / "root")
    client = client_of(root)
    root.rename(tmp_path / "elsewhere")
    for path in ("/", "/dataset", "/jobs", "/jobs/new/flow", "/metrics"):
        answer = client.get(path, headers=HTML)
        assert (answer.status_code, "cannot read ROOT" in answer.text) == (503, True), path
    job = {"command": "verify", "options": {"shards": "shards"}}
    assert client.post("/api/v1/jobs", json=job, headers=FORM).status_code == 503
    with pytest.raises(EnvironmentProblem, match=r"cannot read ROOT .*root: No such file"):
        client.app.state.index.catch_up()
    assert not root.exists()


def test_problems_are_pages_for_people_and_json_for_programs(small):
    client = client_of(small)
    assert "<h1>Not Found</h1>" in client.get("/nope", headers=HTML).text
    assert client.get("/api/v1/nope", headers=HTML).json() == {"message": "Not Found", "details": []}
    details = client.get("/api/v1/clips?limit=0").json()["details"]
    assert len(details) == 1
    assert "limit" in details[0]


def test_a_damaged_index_is_said_and_made_anew(small, tmp_path):
    index = tmp_path / "elsewhere" / "index.sqlite"
    client = client_of(small, index=index)
    client.app.state.index.stop()
    content = index.read_bytes()
    index.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    answer = client.get("/clips", headers=HTML)
    assert answer.status_code == 503
    assert "made anew" in answer.text
    client.app.state.index.catch_up()
    assert client.get("/clips").status_code == 200


def test_names_from_files_may_be_anything(small):
    document = json.loads(b'{"\\ud800": 1}')
    status = RunStatus(small / "clips", command="download", total=1, already=document)
    status.publish(state="running")
    text = (small / "clips" / "status.json").read_text().replace('"command": "download"', '"command": "\\ud800<b>"')
    (small / "clips" / "status.json").write_text(text)
    client = client_of(small)
    assert client.get("/").status_code == 200
    assert "\\ud800" in client.get("/api/v1/runs").json()[0]["status"]["run"]["command"]
