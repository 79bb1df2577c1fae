import os
import random
import tracemalloc
from pathlib import Path

import pytest

from preprocess.errors import InvalidInput
from preprocess.jsonl import line_of
from preprocess.outcomes import MANIFEST_NAME, Outcome, append_manifest, read_manifest
from preprocess.status.manifest_tail import ManifestTail
from tests.preprocess.clip_folders import clip, done, failed, write_manifest


def counts_of(folder):
    return ManifestTail(folder).refresh()


def test_counts_are_those_of_the_whole_manifest(tmp_path):
    chance = random.Random(3)
    tail = ManifestTail(tmp_path)
    for _ in range(60):
        one = clip(chance.randrange(20))
        append_manifest(tmp_path, chance.choice([done(one), failed(one, Outcome.TEMPORARY, "timeout")]))
        counts = tail.refresh()
    expected = [entry.outcome for entry in read_manifest(tmp_path).values()]
    assert counts.outcomes == {"done": expected.count(Outcome.DONE), "temporary": expected.count(Outcome.TEMPORARY)}
    assert counts.missing == (("temporary", "timeout", expected.count(Outcome.TEMPORARY)),)


def test_what_was_read_is_not_read_again(tmp_path):
    write_manifest(tmp_path, [done(clip(n)) for n in range(2000)])
    tail = ManifestTail(tmp_path)
    tail.refresh()
    tracemalloc.start()
    append_manifest(tmp_path, done(clip(2000)))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    counts = tail.refresh()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counts.outcomes == {"done": 2001}
    assert peak - before < 200_000  # 2000 lines are 1 MB


def test_a_line_that_is_being_written_counts_when_it_is_whole(tmp_path):
    write_manifest(tmp_path, [done(clip(0)), done(clip(1))])
    path = tmp_path / MANIFEST_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    tail = ManifestTail(tmp_path)
    assert tail.refresh().outcomes == {"done": 1}
    with path.open("ab") as file:
        file.write(whole[-30:])
    counts = tail.refresh()
    assert (counts.outcomes, counts.malformed) == ({"done": 2}, 0)


def test_a_line_torn_by_a_kill_is_counted_as_malformed_once(tmp_path):
    write_manifest(tmp_path, [done(clip(0))])
    path = tmp_path / MANIFEST_NAME
    path.write_bytes(path.read_bytes() + b'{"key": "bbb')
    tail = ManifestTail(tmp_path)
    tail.refresh()
    append_manifest(tmp_path, done(clip(2)))
    tail.refresh()
    counts = tail.refresh()
    assert (counts.outcomes, counts.malformed) == ({"done": 2}, 1)


def test_another_manifest_is_read_from_its_start(tmp_path):
    write_manifest(tmp_path, [done(clip(n)) for n in range(5)])
    tail = ManifestTail(tmp_path)
    tail.refresh()
    (tmp_path / MANIFEST_NAME).unlink()
    assert tail.refresh().outcomes == {}
    write_manifest(tmp_path, [failed(clip(0), Outcome.BAD_MEDIA, "damaged")])
    assert tail.refresh().outcomes == {"bad_media": 1}


@pytest.mark.parametrize(("clips", "in_place"), [(9, False), (1, True)])
def test_manifest_that_is_replaced_between_two_looks_is_read_from_its_start(tmp_path, clips, in_place):
    write_manifest(tmp_path, [done(clip(n)) for n in range(5)])
    tail = ManifestTail(tmp_path)
    tail.refresh()
    path, other = tmp_path / MANIFEST_NAME, tmp_path / "other" / MANIFEST_NAME
    other.parent.mkdir()
    write_manifest(other.parent, [failed(clip(n), Outcome.BAD_MEDIA, "damaged") for n in range(clips)])
    if in_place:
        path.write_bytes(other.read_bytes())
    else:
        other.replace(path)
    assert tail.refresh().outcomes == {"bad_media": clips}


@pytest.mark.parametrize(
    "line",
    [
        b"7\n",
        b"[]\n",
        b"{}\n",
        b"\x00\n",
        b"{" * 9999 + b"\n",
        line_of({"key": 1, "outcome": "done"}),
        line_of({"key": "a", "outcome": "lost"}),
        line_of({"key": "a", "outcome": "done"}).replace(b"done", b"temporary"),
    ],
    ids=range(8),
)
def test_lines_that_are_no_entries_are_counted(tmp_path, line):
    (tmp_path / MANIFEST_NAME).write_bytes(line)
    counts = counts_of(tmp_path)
    assert (counts.outcomes, counts.malformed) == ({}, 1)


def test_missing_clips_are_by_how_many_and_then_by_name(tmp_path):
    causes = ["timeout", "private", "removed", "private", "private", "removed", "account"]
    write_manifest(tmp_path, [failed(clip(n), Outcome.UNAVAILABLE, cause) for n, cause in enumerate(causes)])
    assert [found[1:] for found in counts_of(tmp_path).missing] == [
        ("private", 3),
        ("removed", 2),
        ("account", 1),
        ("timeout", 1),
    ]


@pytest.mark.parametrize(("make", "what"), [(Path.mkdir, "Is a directory"), (os.mkfifo, "it is a pipe")])
def test_manifest_that_cannot_be_read_fails(tmp_path, make, what):
    make(tmp_path / MANIFEST_NAME)
    with pytest.raises(InvalidInput, match=f"cannot read .*{MANIFEST_NAME}: {what}"):
        counts_of(tmp_path)
