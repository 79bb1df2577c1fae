import csv
import tracemalloc
from dataclasses import asdict

import pytest

from preprocess.annotations import Clip, RefusedRow
from preprocess.errors import BadMedia, TemporarilyUnavailable, Unavailable, WorkerDied
from preprocess.jsonl import line_of
from preprocess.outcomes import (
    MANIFEST_NAME,
    ManifestEntry,
    Outcome,
    append_manifest,
    count_outcomes,
    outcome_of,
    read_manifest,
    read_standings,
    write_missing,
)


def clip(identifier: str, *, label: str | None = "yoga", line: int = 2) -> Clip:
    return Clip(youtube_id=identifier, time_start=0, time_end=10, split="train", label=label, line=line)


def entry(identifier: str, outcome: Outcome, reason: str = "", cause: str = "") -> ManifestEntry:
    return ManifestEntry.of_clip(clip(identifier), outcome, reason=reason, cause=cause)


def test_manifest_round_trip(tmp_path):
    written = entry("a" * 11, Outcome.DONE)
    append_manifest(tmp_path, written)
    assert read_manifest(tmp_path) == {written.key: written}


def test_later_line_replaces_an_earlier_one(tmp_path):
    append_manifest(tmp_path, entry("a" * 11, Outcome.TEMPORARY, "503"))
    append_manifest(tmp_path, entry("a" * 11, Outcome.DONE))
    assert [e.outcome for e in read_manifest(tmp_path).values()] == [Outcome.DONE]


def test_torn_last_line_is_left_out_and_not_glued_to_the_next(tmp_path, caplog):
    append_manifest(tmp_path, entry("a" * 11, Outcome.DONE))
    path = tmp_path / MANIFEST_NAME
    path.write_bytes(path.read_bytes() + b'{"key": "bbbbbb')
    append_manifest(tmp_path, entry("c" * 11, Outcome.DONE))
    assert [e.youtube_id for e in read_manifest(tmp_path).values()] == ["a" * 11, "c" * 11]
    assert "line 2 is torn" in caplog.text


def test_standings_are_those_of_the_whole_entries(tmp_path, caplog):
    lines = [asdict(entry(letter * 11, Outcome.UNAVAILABLE, "Private video", "private")) for letter in "abcdefg"]
    del lines[1]["frozen_s"]
    lines[2]["mood"] = "glad"
    del lines[3]["split"]
    lines[4] |= {"outcome": "lost"}
    lines[5] |= {"key": ["f"]}
    lines.append({**lines[0], "outcome": "done", "source": "url", "sha256": "0" * 64})
    (tmp_path / MANIFEST_NAME).write_bytes(b"".join(map(line_of, lines)))
    standings = read_standings(tmp_path)
    assert [key[0] for key in standings] == ["a", "g"]
    assert caplog.text.count("torn or malformed") == 5
    assert standings == {key: found.standing for key, found in read_manifest(tmp_path).items()}
    first, second = standings.values()
    assert first == (Outcome.DONE, "train", "yoga", "private", "Private video", "url", "0" * 64)
    assert second == (Outcome.UNAVAILABLE, "train", "yoga", "private", "Private video", "", "")


def test_standings_take_little_memory(tmp_path):
    one = asdict(entry("a" * 11, Outcome.DONE))
    lines = ({**one, "key": f"{i:025d}", "sha256": f"{i:064d}", "source": "youtube"} for i in range(5000))
    (tmp_path / MANIFEST_NAME).write_bytes(b"".join(map(line_of, lines)))
    tracemalloc.start()
    try:
        standings = read_standings(tmp_path)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(standings) == 5000
    assert kept / 5000 < 450  # bytes a line; whole entries take 530


def test_missing_names_every_clip_that_is_not_done(tmp_path):
    wanted = [clip("a" * 11, line=2), clip("b" * 11, line=3), clip("c" * 11, label=None, line=4)]
    gone = entry("b" * 11, Outcome.UNAVAILABLE, "Private video", "private")
    entries = {e.key: e.standing for e in (entry("a" * 11, Outcome.DONE), gone)}
    refused = [RefusedRow(line=9, reason="time_end 1 is not after time_start 2", row=("x", "y"))]
    assert write_missing(tmp_path, wanted, entries, refused) == 3
    rows = list(csv.DictReader((tmp_path / "missing.csv").read_text().splitlines()))
    assert [(row["line"], row["label"], row["status"]) for row in rows] == [
        ("3", "yoga", "unavailable"),
        ("4", "", "not_tried"),
        ("9", "", "refused"),
    ]
    assert (rows[0]["cause"], rows[0]["reason"]) == ("private", "Private video")


def test_missing_of_a_long_list_is_whole_and_never_in_memory_as_text(tmp_path):
    wanted = [clip(f"{i:011d}", line=i) for i in range(60_000)]
    tracemalloc.start()
    try:
        assert write_missing(tmp_path, wanted, {}, []) == 60_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    path = tmp_path / "missing.csv"
    with path.open() as file:
        assert [int(row["line"]) for row in csv.DictReader(file)] == list(range(60_000))
    assert peak < 6_000_000  # with one text of all rows 12 MB


def test_missing_is_written_when_nothing_is(tmp_path):
    assert write_missing(tmp_path, [], {}, []) == 0
    assert (tmp_path / "missing.csv").read_text().count("\n") == 1


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@x"])
def test_cells_are_no_formulas(tmp_path, text):
    write_missing(tmp_path, [clip("a" * 11, label=text)], {}, [])
    (row,) = csv.DictReader((tmp_path / "missing.csv").read_text().splitlines())
    assert row["label"] == f"'{text}"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable, Outcome.UNAVAILABLE),
        (TemporarilyUnavailable, Outcome.TEMPORARY),
        (BadMedia, Outcome.BAD_MEDIA),
        (WorkerDied, Outcome.QUARANTINED),
    ],
)
def test_outcome_of(error, outcome):
    assert outcome_of(error("x")) is outcome


def test_outcomes_add_up_to_the_rows():
    wanted = [clip(letter * 11) for letter in "abcd"]
    entries = {e.key: e.standing for e in (entry("a" * 11, Outcome.BAD_MEDIA), entry("b" * 11, Outcome.DONE))}
    entries["of another list"] = entry("z" * 11, Outcome.DONE).standing
    refused = [RefusedRow(line=9, reason="empty", row=())]
    counted = count_outcomes(wanted, entries, refused)
    assert counted == {"done": 1, "bad_media": 1, "not_tried": 2, "refused": 1}
    assert list(counted) == ["done", "bad_media", "not_tried", "refused"]
    assert count_outcomes(wanted[:1], entries, refused, done=3) == {"done": 3, "bad_media": 1, "refused": 1}
