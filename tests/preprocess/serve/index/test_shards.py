from contextlib import closing
from dataclasses import replace
from itertools import chain

import pytest

from preprocess.outcomes import Outcome
from preprocess.serve.index.clips import ClipQuery, find_clips
from preprocess.serve.index.counts import messages, read_runs
from preprocess.serve.index.entries import Entries
from preprocess.serve.index.schema import open_for_writing
from preprocess.serve.index.shards import ShardFeed
from preprocess.shards.index import Index
from preprocess.shards.layout import ShardAttributes
from preprocess.shards.write import write_shard
from preprocess.trials import KILLED_REASON
from tests.pipelines.tiny_shards import LABELS, textured_clip, write_set
from tests.preprocess.serve.small_root import KEYS, SIZE, indexed, make_root, outcomes

FIRST, SECOND = "train-00000-of-00002.h5", "train-00001-of-00002.h5"


@pytest.fixture
def small(tmp_path):
    return make_root(tmp_path)


def shard_problems(indexer):
    with indexer.reading() as db:
        return dict(db.execute("SELECT name, problem FROM shard"))


def keys_of(indexer, **query):
    with indexer.reading() as db:
        run = next(run.code for run in read_runs(db) if run.name == "shards")
        return [clip.key for clip in find_clips(db, ClipQuery(run=run, **query)).clips]


def test_clips_of_shards_have_class_and_split(small):
    indexer = indexed(small)
    assert keys_of(indexer, label="yoga", split="train", outcome="done") == KEYS[:2]
    assert keys_of(indexer, label="zumba") == keys_of(indexer, split="val") == []


@pytest.mark.parametrize("spoil", ["cut", "long", "head", "gone", "link", "clips"])
def test_a_damaged_shard_is_named_and_costs_no_other(small, spoil):
    path = small / "shards" / FIRST
    content = path.read_bytes()
    if spoil == "cut":
        path.write_bytes(content[:-1])
    elif spoil == "long":
        path.write_bytes(content + b"x")
    elif spoil == "head":
        path.write_bytes(bytes(512) + content[512:])
    elif spoil == "gone":
        path.unlink()
    elif spoil == "link":
        path.rename(small / "elsewhere.h5")
        path.symlink_to(small / "elsewhere.h5")
    else:
        index = Index.read(small / "shards")
        replace(index, shards=(replace(index.shards[0], clips=3), *index.shards[1:])).write(small / "shards")
    indexer = indexed(small)
    problems = shard_problems(indexer)
    assert problems[FIRST].startswith(FIRST)
    assert ("is a link" in problems[FIRST]) == (spoil == "link")
    assert problems[SECOND] == ""
    assert keys_of(indexer) == [KEYS[1]]


def test_a_repaired_shard_is_read_again(small):
    path = small / "shards" / FIRST
    content = path.read_bytes()
    path.write_bytes(bytes(512) + content[512:])
    indexer = indexed(small)
    path.write_bytes(content)
    indexer.catch_up()
    assert keys_of(indexer) == KEYS[:2]
    assert set(shard_problems(indexer).values()) == {""}


def test_progress_is_told_after_each_shard(small):
    folder = small / "shards"
    sizes = [info.bytes for info in Index.read(folder).shards]
    with closing(open_for_writing(small / "index.sqlite")) as db:
        db.execute("INSERT INTO run (id, name, code, kind) VALUES (1, 'shards', 'x', 'shards')")
        told = []
        for _ in chain(ShardFeed(db, Entries(db), run=1, folder=folder).steps(), [None]):
            told += db.execute("SELECT offset, bytes FROM run").fetchall()
    assert told == [(read, sum(sizes)) for read in (0, sizes[0], sum(sizes))]


def test_unchanged_shards_are_not_opened_again(small, monkeypatch):
    indexer = indexed(small)
    monkeypatch.setattr("preprocess.serve.index.shards.read_head", lambda *_, **__: pytest.fail("opened"))
    indexer.catch_up()
    assert outcomes(indexer, "shards") == {"done": 2}


def test_other_shards_in_their_place_replace_them(small):
    indexer = indexed(small)
    write_set(small / "shards", {"val": [[textured_clip("other", label=-1, frames=3, size=SIZE)]]})
    indexer.catch_up()
    assert keys_of(indexer) == ["other"]
    assert outcomes(indexer, "shards") == {"done": 1}


def test_shards_of_a_run_that_has_not_finished_are_shown(small):
    (small / "shards" / "index.json").unlink()
    (small / "shards" / "weights.h5").write_bytes(b"x")
    indexer = indexed(small)
    assert keys_of(indexer) == KEYS[:2]
    assert shard_problems(indexer).keys() == {FIRST, SECOND}
    with indexer.reading() as db:
        assert "not written yet" in next(run.note for run in read_runs(db) if run.name == "shards")


def test_a_damaged_index_is_said(small):
    (small / "shards" / "index.json").write_text("{}")
    indexer = indexed(small)
    with indexer.reading() as db:
        assert "damaged" in next(run.note for run in read_runs(db) if run.name == "shards")


def test_clips_that_a_shard_was_made_without_are_failures(small):
    folder = small / "shards"
    attributes = ShardAttributes(
        short_side=48, labels=LABELS, failed={"bad": "bad: no frame in 5 s", "killer": KILLED_REASON, "\x1b[1m": "why"}
    )
    clips = [textured_clip("x\x1b", label=0, frames=3, size=SIZE)]
    info = write_shard(folder / "val-00000-of-00001.h5", clips, attributes)
    Index(config={}, labels=LABELS, shards=(info,)).write(folder)
    indexer = indexed(small)
    assert outcomes(indexer, "shards") == {"done": 1, "bad_media": 2, "quarantined": 1}
    assert keys_of(indexer, outcome=Outcome.DONE) == ["x\\x1b"]
    assert keys_of(indexer, outcome=Outcome.QUARANTINED) == ["killer"]
    assert keys_of(indexer, outcome=Outcome.BAD_MEDIA) == ["\\x1b[1m", "bad"]
    with indexer.reading() as db:
        assert "*: no frame in * s" in {message.text for message in messages(db, most=100)}


def test_a_clip_in_two_shards_is_said_while_both_are_there(small):
    twice = textured_clip(KEYS[0], label=1, frames=4, size=SIZE)
    write_set(small / "shards", {"train": [[twice], [twice]]})
    indexer = indexed(small)
    assert outcomes(indexer, "shards") == {"done": 1}
    assert KEYS[0] in shard_problems(indexer)[SECOND]
    with indexer.reading() as db:
        assert db.execute("SELECT name FROM entry JOIN shard ON shard.id = shard").fetchall() == [(FIRST,)]
    (small / "shards" / "index.json").unlink()
    (small / "shards" / FIRST).unlink()
    indexer.catch_up()
    assert keys_of(indexer) == [KEYS[0]]
    assert shard_problems(indexer) == {SECOND: ""}
