import random
import string
from dataclasses import replace

import pytest

from preprocess.outcomes import Outcome
from preprocess.serve.index import clips
from preprocess.serve.index.clips import ClipQuery, find_clip, find_clips
from preprocess.serve.index.counts import failures, label_names, labels, messages, read_runs, splits_of
from tests.preprocess.clip_folders import clip, done, failed
from tests.preprocess.serve.small_root import CLIPS, EVIL, KEYS, append, indexed, make_root


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An index of 300 clips beside the usual ones, and what each is."""
    root = make_root(tmp_path_factory.mktemp("many"))
    draw = random.Random(0)
    made = {}
    for number in range(100, 400):
        letters = "".join(draw.choices(string.ascii_letters + "_-", k=8))
        one = clip(number, label=draw.choice(["yoga", "hot yoga", "zumba", None]), split=draw.choice(["train", "val"]))
        key = f"{letters}-x{number}_{number:06d}_000010"
        outcome = draw.choice(list(Outcome))
        entry = done(one) if outcome is Outcome.DONE else failed(one, outcome, draw.choice(["a", "b"]))
        made[key] = replace(entry, key=key)
    append(root, made.values())
    indexer = indexed(root)
    with indexer.reading() as db:
        yield db, made


def all_pages(db, **query):
    keys, after = [], ""
    while True:
        page = find_clips(db, ClipQuery(after=after, **query))
        keys += [one.key for one in page.clips]
        if page.next is None:
            return keys
        assert len(page.clips) == query.get("most", 50)
        assert page.next > after
        after = page.next


@pytest.mark.parametrize("most", [1, 7, 50, 200])
def test_pages_hold_every_clip_once_in_order(many, most):
    db, made = many
    assert all_pages(db, most=most) == sorted([*made, *KEYS])


@pytest.mark.parametrize("outcome", [None, "done", "temporary"])
@pytest.mark.parametrize("split", [None, "val"])
@pytest.mark.parametrize("label", [None, "yoga", ""])
@pytest.mark.parametrize("cause", [None, "a"])
def test_filters_are_what_they_say(many, outcome, split, label, cause):
    db, made = many
    run = next(run.code for run in read_runs(db) if run.name == "clips")
    query = {"run": run, "outcome": outcome, "split": split, "label": label, "cause": cause}
    expected = sorted(
        key
        for key, entry in made.items()
        if outcome in {None, entry.outcome}
        and split in {None, entry.split}
        and (label is None or (entry.label or "") == label)
        and cause in {None, entry.cause}
    )
    found = all_pages(db, **query, most=20)
    assert [key for key in found if key in made] == expected
    assert find_clips(db, ClipQuery(**query)).total == len(found)


def test_search_finds_beginnings_parts_and_classes(many):
    db, made = many
    key = sorted(made)[5]
    assert all_pages(db, text=key) == [key]
    (found,) = find_clips(db, ClipQuery(text=key[:9])).clips  # by its beginning and by a part of it
    assert (found.key, len(found.standings)) == (key, 1)
    assert all_pages(db, text=key[2:8]) == [key]
    assert all_pages(db, text=key[2:8].swapcase()) == [key]
    of_class = [key for key, entry in made.items() if entry.label == "hot yoga"]
    assert all_pages(db, text="HOT y", most=7) == sorted(of_class)
    assert find_clips(db, ClipQuery(text="oga")).labels == ("hot yoga", "yoga")
    assert all_pages(db, text="no such thing") == []


@pytest.mark.parametrize("most", [7, 50])
def test_parts_of_ids_come_in_pages(many, most):
    db, made = many
    found = {key: entry for key, entry in made.items() if "-x1" in key}
    assert all_pages(db, text="-X1", most=most) == sorted(found)
    of_class = [key for key, entry in found.items() if entry.label == "yoga"]
    assert all_pages(db, text="-x1", label="yoga", most=most) == sorted(of_class)


def test_short_text_finds_beginnings_only(many):
    db, made = many
    for letter in "aZ":
        # no class has these letters
        assert all_pages(db, text=f"{letter}_") == sorted(key for key in made if key.startswith(f"{letter}_"))


def test_search_within_filters(many):
    db, made = many
    key, entry = next((key, entry) for key, entry in made.items() if entry.outcome is Outcome.DONE)
    part = key[1:7]
    assert all_pages(db, text=part, outcome="done", split=entry.split, label=entry.label or "") == [key]
    assert all_pages(db, text=part, outcome="temporary") == all_pages(db, text=part, label="zumba x") == []
    assert all_pages(db, text="yoga", label="zumba") == []
    of_class = [key for key, entry in made.items() if entry.label == "hot yoga"]
    assert all_pages(db, text="oga", label="hot yoga", most=7) == sorted(of_class)


@pytest.mark.parametrize("text", ['"', "'", '" OR "', 'a"b', "*", "a\\b", "%", "NEAR(", "\U0010ffff", "x" * 100])
def test_search_for_signs_of_query_languages(many, text):
    assert find_clips(many[0], ClipQuery(text=text)).clips == ()


def test_search_that_fits_too_much_says_so(many, monkeypatch):
    db, _ = many
    monkeypatch.setattr(clips, "MOST_HITS", 10)
    monkeypatch.setattr(clips, "MOST_LABELS", 1)
    page = find_clips(db, ClipQuery(text="000"))
    assert [one.key for one in page.clips] == KEYS
    assert page.notes == ()  # the times of keys are not looked into
    page = find_clips(db, ClipQuery(text="yoga"))
    assert page.clips == ()
    assert page.labels == ("hot yoga", "yoga")
    assert "choose one" in page.notes[0]
    assert find_clips(db, ClipQuery(text="yoga", label="yoga")).notes == ()
    monkeypatch.setattr(clips, "MOST_LABELS", 2)
    assert find_clips(db, ClipQuery(text="yoga")).notes == ()
    monkeypatch.setattr(clips, "MOST_HITS", 0)
    assert "ids contain" in find_clips(db, ClipQuery(text="000")).notes[0]


def test_no_page_reads_more_rows_than_it_shows_times_the_kinds(many):
    """By the plan of SQLite: every step is a search of an index, none a scan or a sort of what it finds."""
    db, _ = many
    plans = []
    db.set_trace_callback(plans.append)
    run = read_runs(db)[0].code
    for query in (
        ClipQuery(),
        ClipQuery(label="yoga"),
        ClipQuery(run=run, split="val", outcome="done"),
        ClipQuery(text="abcd"),
        ClipQuery(message=1),
    ):
        find_clips(db, query)
    db.set_trace_callback(None)
    of_entries = {statement for statement in plans if "FROM entry" in statement or "JOIN entry" in statement}
    assert len(of_entries) > 5
    for statement in of_entries:
        steps = [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in steps if "SCAN entry" in step], statement
        if "LIMIT" in statement:
            assert not [step for step in steps if "TEMP B-TREE" in step], statement


def test_clips_of_a_message_come_in_pages(many):
    db, made = many
    (run,) = [run.code for run in read_runs(db) if run.name == "clips"]
    counts = [message.clips for message in messages(db, most=99)]
    assert counts == sorted(counts, reverse=True)
    found = messages(db, run=run, outcome="temporary", cause="a", most=9)
    of_cause = {key: one for key, one in made.items() if (one.outcome, one.cause) == (Outcome.TEMPORARY, "a")}
    keys = [key for message in found for key in all_pages(db, message=message.id, most=4)]
    assert sorted(keys) == sorted(of_cause)
    (message,) = found
    assert (message.clips, message.example) == (len(of_cause), min(of_cause))
    for query in ({"label": "yoga"}, {"split": "val"}):
        ((name, value),) = query.items()
        expected = [key for key, one in of_cause.items() if getattr(one, name) == value]
        assert all_pages(db, message=message.id, most=4, **query) == sorted(expected)
    for text in (message.example[2:8].swapcase(), "HOT y", "no such thing"):
        expected = [key for key in all_pages(db, text=text) if key in of_cause]
        assert all_pages(db, message=message.id, text=text, most=4) == expected


def test_one_clip_in_all_its_runs(many):
    db, _ = many
    found = find_clip(db, KEYS[0])
    assert [(one.run_name, one.outcome, one.at) for one in found.standings] == [
        ("clips", "done", 0),
        ("shards", "done", 0),
    ]
    assert find_clip(db, "../../etc/passwd") is None


def test_what_no_clip_is_any_more_is_not_counted(tmp_path):
    root = make_root(tmp_path)
    indexer = indexed(root)
    append(root, [replace(done(CLIPS[4]), label="zumba")])
    indexer.catch_up()
    with indexer.reading() as db:
        assert {one.label: one.clips for one in labels(db)} == {EVIL: 1, "yoga": 4, "zumba": 2}
        assert [(one.outcome, one.clips) for one in failures(db)] == [("unavailable", 1)]
        assert [message.outcome for message in messages(db, most=9)] == ["unavailable"]


def test_counts_by_class_and_cause(tmp_path):
    with indexed(make_root(tmp_path)).reading() as db:
        run = read_runs(db)[0].code
        counted = {one.label: (one.done, one.clips) for one in labels(db, run=run)}
        assert counted == {"": (0, 1), EVIL: (0, 1), "yoga": (2, 2), "zumba": (1, 1)}
        assert [(one.outcome, one.cause, one.clips) for one in failures(db)] == [
            ("temporary", "timeout", 1),
            ("unavailable", "private", 1),
        ]
        assert failures(db, run="other") == []
        assert splits_of(db) == ["train", "val"]
        assert label_names(db) == [EVIL, "archery", "yoga", "zumba"]
