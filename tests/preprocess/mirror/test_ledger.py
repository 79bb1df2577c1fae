from preprocess.annotations import Clip
from preprocess.mirror.ledger import (
    JOURNALS_NAME,
    KILLS,
    LEDGER_NAME,
    ArchiveJournal,
    ArchiveRecord,
    append_ledger,
    of_killer,
    read_ledger,
)
from preprocess.outcomes import ManifestEntry, Outcome

CLIP = Clip(youtube_id="-abc_defGHI", time_start=4, time_end=6, split="train", label="yoga", line=2)
OTHER = Clip(youtube_id="_abc_defGHI", time_start=4, time_end=6, split="train", label=None, line=3)
DONE = ManifestEntry.of_clip(CLIP, Outcome.DONE, path="train/yoga/x.mp4", sha256="0" * 64)
BAD = ManifestEntry.of_clip(OTHER, Outcome.BAD_MEDIA, cause="damaged", reason="x")


def record(address, **fields):
    return ArchiveRecord(address=address, outcome=Outcome.DONE, tag='"x"', length=5, members=("a", "b"), **fields)


def test_ledger_comes_back_with_the_last_record_of_each_archive(tmp_path):
    append_ledger(tmp_path, ArchiveRecord(address="a", outcome=Outcome.TEMPORARY, cause="timeout", reason="late"))
    append_ledger(tmp_path, record("b", skipped={"AppleDouble": 2}, unwanted=7))
    append_ledger(tmp_path, record("a", stored=3))
    assert read_ledger(tmp_path) == {
        "a": record("a", stored=3),
        "b": record("b", skipped={"AppleDouble": 2}, unwanted=7),
    }


def test_torn_line_of_the_ledger_is_left_out(tmp_path, caplog):
    append_ledger(tmp_path, record("a"))
    path = tmp_path / LEDGER_NAME
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50])
    append_ledger(tmp_path, record("b"))
    assert list(read_ledger(tmp_path)) == ["a", "b"]
    assert "line 2 is torn" in caplog.text


def test_journal_keeps_what_became_of_each_clip(tmp_path):
    journal = ArchiveJournal.of("https://h/a.tar", folder=tmp_path)
    assert journal.entries == {}
    for clip, entry in ((CLIP, DONE), (OTHER, BAD)):
        for _ in range(KILLS):
            journal.begin(clip)
        journal.finish(entry)
    again = ArchiveJournal.of("https://h/a.tar", folder=tmp_path)
    assert again.entries == {CLIP.key: DONE, OTHER.key: BAD}
    assert again.killers() == set()


def test_journals_of_two_archives_are_apart_and_both_are_found(tmp_path):
    for address, entry in (("https://h/a.tar", DONE), ("/data/../a b.tar", BAD)):
        ArchiveJournal.of(address, folder=tmp_path).finish(entry)
    assert ArchiveJournal.of("https://h/a.tar", folder=tmp_path).entries == {CLIP.key: DONE}
    assert len(ArchiveJournal.leftovers(tmp_path)) == 2
    assert {path.parent.name for path in tmp_path.rglob("*.jsonl")} == {JOURNALS_NAME}


def test_clip_at_which_workers_end_is_found_out(tmp_path):
    journal = ArchiveJournal.of("a", folder=tmp_path)
    journal.begin(OTHER)
    journal.begin(CLIP)
    journal.finish(DONE)
    for _ in range(KILLS - 1):
        journal.begin(OTHER)
    assert journal.killers() == {OTHER.key}
    journal.finish(of_killer(OTHER))
    assert journal.killers() == set()
    assert journal.entries[OTHER.key].outcome is Outcome.QUARANTINED


def test_tries_on_a_node_that_was_lost_are_forgiven(tmp_path):
    journal = ArchiveJournal.of("a", folder=tmp_path)
    journal.begin(CLIP)
    journal.finish(DONE)
    for _ in range(KILLS):
        journal.begin(OTHER)
    journal.forgive()
    assert journal.killers() == set()
    assert journal.entries == {CLIP.key: DONE}


def test_journal_can_be_deleted_twice(tmp_path):
    journal = ArchiveJournal.of("a", folder=tmp_path)
    journal.finish(DONE)
    journal.delete()
    journal.delete()
    assert journal.entries == {}
