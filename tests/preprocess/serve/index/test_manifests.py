import shutil
from dataclasses import replace

import pytest

from preprocess.jsonl import append_line, line_of
from preprocess.outcomes import MANIFEST_NAME, Outcome
from preprocess.serve.index import manifests
from preprocess.serve.index.clips import ClipQuery, earlier_places, find_clips
from preprocess.serve.index.counts import messages, read_runs
from tests.preprocess.clip_folders import clip, done, failed
from tests.preprocess.serve.small_root import CLIPS, KEYS, append, indexed, make_root, outcomes


@pytest.fixture
def small(tmp_path):
    return make_root(tmp_path)


def test_last_line_of_a_key_counts(small):
    assert outcomes(indexed(small)) == {"done": 3, "unavailable": 1, "temporary": 1}


def test_what_is_added_is_read_on(small):
    indexer = indexed(small)
    append(small, [done(clip(6)), done(CLIPS[4])])
    indexer.catch_up()
    assert outcomes(indexer) == {"done": 5, "unavailable": 1}


def test_only_what_is_added_is_read(small, monkeypatch):
    indexer = indexed(small)
    read = []
    monkeypatch.setattr(manifests, "parse_line", lambda line: read.append(line) or {})
    indexer.catch_up()
    assert read == []


def test_a_line_without_its_end_waits(small):
    indexer = indexed(small)
    append(small, [b'{"key": "torn'])
    indexer.catch_up()
    assert not indexer.progress().is_behind
    with indexer.reading() as db:
        assert [run.damaged for run in read_runs(db)] == [0, 0]


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[1, 2]\n",
        {"outcome": "eaten"},
        {"key": "x\a"},
        {"key": "\ud800"},
        {"key": 5},
        {"label": 5},
        {"split": []},
        {"outcome": "temporary", "reason": 5},
        {"key": ""},
        b"[" * 100_000 + b"\n",
        b'{"key": "' + b"x" * (2 << 20) + b'"}\n',
        b"x" * (manifests.LONGEST_LINE - 1) + b"\n",
    ],
    ids=range(13),
)
def test_a_damaged_line_is_named_and_costs_no_other(small, line):
    if isinstance(line, dict):  # whole, and yet no entry
        line = line_of({"key": "x", "label": None, "split": "train", "outcome": "done", **line})
    append(small, [line, done(clip(6))])
    indexer = indexed(small)
    assert outcomes(indexer)["done"] == 4
    with indexer.reading() as db:
        assert [run.damaged for run in read_runs(db)] == [1, 0]
        ((at,),) = db.execute("SELECT at FROM damage")
    assert (small / "clips" / MANIFEST_NAME).read_bytes()[at:].startswith(line[:20])


def test_a_changed_line_is_damaged(small):
    append_line(small / "clips" / MANIFEST_NAME, {"key": "x", "label": None, "split": "train", "outcome": "done"})
    path = small / "clips" / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"key": "x"', b'"key": "y"'))
    indexer = indexed(small)
    assert outcomes(indexer)["done"] == 3
    with indexer.reading() as db:
        assert [run.damaged for run in read_runs(db)] == [1, 0]


def test_lines_are_taken_in_several_transactions(small, monkeypatch):
    monkeypatch.setattr(manifests, "LINES_AT_ONCE", 2)
    append(small, [done(clip(number)) for number in range(6, 20)])
    indexer = indexed(small)
    assert outcomes(indexer) == {"done": 17, "unavailable": 1, "temporary": 1}
    with indexer.reading() as db:
        assert len(earlier_places(db, run=read_runs(db)[0].code, key=KEYS[3])) == 2


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_history_is_every_line_in_order(small, monkeypatch, at_once):
    monkeypatch.setattr(manifests, "LINES_AT_ONCE", at_once)
    indexer = indexed(small)
    with indexer.reading() as db:
        places = earlier_places(db, run=read_runs(db)[0].code, key=KEYS[3])
    content = (small / "clips" / MANIFEST_NAME).read_bytes()
    assert [b"503" in content[at:].split(b"\n")[0] for at in places] == [True, False]
    assert b"502" in content[places[1] :].split(b"\n")[0]


def test_a_replaced_manifest_is_read_anew(small):
    indexer = indexed(small)
    other = small / "other"
    shutil.copytree(small / "clips", other)
    (other / MANIFEST_NAME).write_bytes(b"")
    (other / MANIFEST_NAME).replace(small / "clips" / MANIFEST_NAME)
    append(small, [done(clip(9))])
    indexer.catch_up()
    assert outcomes(indexer) == {"done": 1}


def test_clips_that_were_taken_out_hide_no_others(small, monkeypatch):
    monkeypatch.setattr("preprocess.serve.index.clips.MOST_HITS", 10)
    indexer = indexed(small)
    for _ in range(3):
        (small / "clips" / MANIFEST_NAME).unlink()
        indexer.catch_up()
        append(small, [done(one) for one in CLIPS])
        indexer.catch_up()
    with indexer.reading() as db:
        page = find_clips(db, ClipQuery(text=KEYS[2][1:6]))
    assert (page.notes, KEYS[2] in [one.key for one in page.clips]) == ((), True)


def test_a_manifest_rewritten_in_place_is_read_anew(small):
    indexer = indexed(small)
    path = small / "clips" / MANIFEST_NAME
    size = path.stat().st_size
    path.write_bytes(b"")
    append(small, [done(clip(number)) for number in range(10, 20)])
    assert path.stat().st_size > size  # longer than before: only its head tells
    indexer.catch_up()
    assert outcomes(indexer) == {"done": 10}


def test_a_manifest_that_is_gone_leaves_nothing(small):
    indexer = indexed(small)
    (small / "clips" / MANIFEST_NAME).unlink()
    indexer.catch_up()
    assert outcomes(indexer) == {}


def test_what_sources_said_counts_again_when_a_manifest_is_gone_for_a_while(small):
    append(small, [b"{}\n"])
    indexer = indexed(small)

    def said():
        with indexer.reading() as db:
            return [(one.text, one.clips) for one in messages(db, most=100)], read_runs(db)[0].damaged

    before, path = said(), small / "clips" / MANIFEST_NAME
    assert before[1] == 1
    path.rename(small / "away")
    indexer.catch_up()
    assert said() == ([], 0)
    (small / "away").rename(path)
    indexer.catch_up()
    assert said() == before


def test_a_link_is_not_followed(small, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / MANIFEST_NAME
    path = small / "clips" / MANIFEST_NAME
    path.rename(outside)
    path.symlink_to(outside)
    indexer = indexed(small)
    assert outcomes(indexer) == {}
    with indexer.reading() as db:
        assert "cannot be read" in read_runs(db)[0].note


def test_messages_that_differ_in_names_and_numbers_are_one(small):
    for number in range(10, 15):
        one = clip(number)
        append(
            small, [failed(one, Outcome.UNAVAILABLE, "removed", f"[youtube] {one.youtube_id}: gone since 4{number} s")]
        )
    indexer = indexed(small)
    with indexer.reading() as db:
        found = [one for one in messages(db, most=100) if one.cause == "removed"]
        (message,) = found
        assert (message.text, message.clips) == ("[youtube] *: gone since * s", 5)
        page = find_clips(db, ClipQuery(message=message.id))
    assert [one.key for one in page.clips] == [clip(number).key for number in range(10, 15)]


def test_a_message_is_not_counted_any_more_when_its_clip_is_done(small):
    indexer = indexed(small)
    append(small, [done(CLIPS[4])])
    indexer.catch_up()
    with indexer.reading() as db:
        assert {one.cause for one in messages(db, most=100)} == {"private"}


def test_kinds_of_messages_are_bounded(small, monkeypatch):
    monkeypatch.setattr("preprocess.serve.index.entries.MOST_MESSAGES", 4)
    words = ["one", "two", "three", "four", "five", "six"]
    of = failed(clip(6), Outcome.UNAVAILABLE, "removed")
    append(small, [replace(of, key=f"x{word}", reason=f"{word} is why") for word in words])
    with indexed(small).reading() as db:
        texts = {one.text: one.clips for one in messages(db, most=100) if one.cause == "removed"}
    assert sum(texts.values()) == len(words)
    assert texts["(other messages)"] > 1
