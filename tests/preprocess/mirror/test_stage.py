import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.errors import WorkerDied
from preprocess.mirror.ledger import JOURNALS_NAME, ArchiveJournal, read_ledger
from preprocess.mirror.stage import MirrorStage
from preprocess.outcomes import ManifestEntry, Outcome, append_manifest, read_manifest, read_standings
from preprocess.paths import UNFINISHED
from preprocess.schedule import RetryPolicy
from preprocess.sources.http import Connection
from preprocess.sources.mirror import Archive
from preprocess.workers import run_tasks
from tests.preprocess.archive_server import Fault, pack, serving_archives
from tests.preprocess.conftest import numbered_frames, textured_frames, write_video

RETRIES = RetryPolicy(tries=3, first_s=0.01, longest_s=0.5)


def clip(identifier, start=4):
    return Clip(youtube_id=identifier, time_start=start, time_end=start + 2, split="train", label="yoga", line=2)


CLIPS = tuple(clip(sign * 11) for sign in "abcdefgh")
A, B, C, D, *REST = CLIPS


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two clips of two seconds that differ."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        write_video(folder / f"{i}.mp4", frames).read_bytes()
        for i, frames in enumerate((numbered_frames(50), textured_frames(50)))
    ]


@pytest.fixture
def server(tmp_path):
    with serving_archives(tmp_path / "site") as running:
        yield running


@pytest.fixture
def out(tmp_path):
    return tmp_path / "clips"


@pytest.fixture
def log(caplog):
    """With what is for information too."""
    caplog.set_level(logging.INFO, "preprocess.mirror")
    return caplog


@pytest.fixture
def stage_of(server, out):
    """A stage over archives of the server's folder, by name; those that begin with `replacement` are such."""

    def make(*names, wanted=CLIPS, workers=0, run=None, retry=()):
        config = DownloadConfig(out=out, url_template="http://x/{youtube_id}", retries=RETRIES, retry=frozenset(retry))
        (out / UNFINISHED).mkdir(parents=True, exist_ok=True)
        return MirrorStage(
            [Archive(address=f"{server.url}/{name}", replaces=name.startswith("replacement")) for name in names],
            wanted=wanted,
            entries=_Live(out),
            config=config,
            connection=Connection(timeout_s=5, retries=RETRIES),
            run=run or partial(run_tasks, config=WorkerConfig(workers=workers)),
        )

    return make


class _Live(dict):
    """The manifest, as a driver holds it."""

    def __init__(self, folder):
        super().__init__(read_standings(folder))
        self.folder = folder

    def add(self, entry):
        append_manifest(self.folder, entry)
        self[entry.key] = entry.standing


def take(stage, pending=CLIPS):
    """What a driver does: write each entry down before it asks for the next."""
    found = []
    for entry in stage.take(pending):
        stage._entries.add(entry)
        found.append(entry)
    return found


def outcomes(folder):
    return {key: entry.outcome.value for key, entry in read_manifest(folder).items()}


def names(*clips):
    return [f"{one.key}.mp4" for one in clips]


def test_clips_of_all_archives_are_handed_over_and_the_rest_gets_no_outcome(stage_of, server, out, videos, log):
    pack(server.folder / "1.tar", dict.fromkeys(names(A, B), videos[0]))
    pack(server.folder / "2.tar", dict.fromkeys(names(C), videos[0]), mode="w:gz")
    assert [entry.key for entry in take(stage_of("1.tar", "2.tar"))] == [A.key, B.key, C.key]
    assert outcomes(out) == {A.key: "done", B.key: "done", C.key: "done"}
    assert "2 archives read, 0 left unread, 0 failed" in log.text


def test_ledger_says_what_was_read_and_journals_are_gone(stage_of, server, out, videos):
    pack(server.folder / "1.tar", {**dict.fromkeys(names(A, B), videos[0]), "readme": b"x"})
    take(stage_of("1.tar"))
    (record,) = read_ledger(out).values()
    assert (record.outcome, record.stored, record.unwanted) == (Outcome.DONE, 2, 1)
    assert record.members == (A.key, B.key)
    assert record.length == (server.folder / "1.tar").stat().st_size
    assert list((out / JOURNALS_NAME).iterdir()) == []
    assert list((out / UNFINISHED).iterdir()) == []


def test_replacement_mends_a_corrupt_clip(stage_of, server, out, videos):
    pack(server.folder / "1.tar", {f"{A.key}.mp4": videos[0][:1500], f"{B.key}.mp4": videos[0]})
    pack(server.folder / "replacement.tgz", {f"replacement_for_corrupted_k400/{A.key}.mp4": videos[1]}, mode="w:gz")
    entries = take(stage_of("1.tar", "replacement.tgz"))
    assert [(entry.key, entry.outcome.value) for entry in entries] == [(A.key, "done"), (B.key, "done")]
    assert (out / entries[0].path).read_bytes() == videos[1]


def test_bad_clip_that_another_archive_has_whole_ends_done(stage_of, server, out, videos):
    for first, second in (("1.tar", "2.tar"), ("2.tar", "1.tar")):
        pack(server.folder / first, {f"{A.key}.mp4": b"bad"})
        pack(server.folder / second, {f"{A.key}.mp4": videos[0]})
        stage = stage_of("1.tar", "2.tar", wanted=(A, B))
        take(stage, (A, B))
        assert outcomes(out) == {A.key: "done"}
        (out / "manifest.jsonl").unlink()
        (out / "archives.jsonl").unlink()


def test_of_two_good_copies_the_manifest_has_the_one_in_place(stage_of, server, out, videos):
    for i in (0, 1):
        pack(server.folder / f"{i}.tar", {f"{A.key}.mp4": videos[i]})
    take(stage_of("0.tar", "1.tar"))
    (entry,) = read_manifest(out).values()
    import hashlib

    assert entry.sha256 == hashlib.sha256((out / entry.path).read_bytes()).hexdigest()


@pytest.mark.parametrize("first", ["1.tar", "replacement.tar"])
def test_archives_are_read_only_until_nothing_is_pending(stage_of, server, out, videos, first):
    for name in (first, "2.tar"):
        pack(server.folder / name, dict.fromkeys(names(A), videos[0]))
    take(stage_of(first, "2.tar"), (A,))
    assert [path for path, _ in server.requests] == [f"/{first}"]
    take(stage_of(first, "2.tar"), ())
    assert len(server.requests) == 1


def test_archives_of_other_classes_are_not_read(stage_of, server, out, videos):
    for name in ("yoga", "juggling_balls"):
        pack(server.folder / f"{name}.tar", dict.fromkeys(names(A), videos[0]))
    take(stage_of("juggling_balls.tar", "yoga.tar"))
    assert [path for path, _ in server.requests] == ["/yoga.tar"]


def test_busy_archive_is_read_later(stage_of, server, out, videos, log):
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    pack(server.folder / "2.tar", dict.fromkeys(names(B), videos[0]))
    server.faults["2.tar"] = [Fault(status=503, headers={"Retry-After": "0"}), Fault(status=429)]
    take(stage_of("2.tar", "1.tar"))
    assert outcomes(out) == {A.key: "done", B.key: "done"}
    assert [path for path, _ in server.requests] == ["/2.tar", "/1.tar", "/2.tar", "/2.tar"]
    assert "2 archives read, 0 left unread, 0 failed" in log.text


def test_lost_archive_goes_on_where_it_was_the_next_time(stage_of, server, out, videos):
    size = pack(server.folder / "1.tar", dict.fromkeys(names(A, B, C), videos[0])).stat().st_size
    server.tags = ""  # so that it cannot be resumed within one connection
    server.faults["1.tar"] = [Fault(cut=size // 2)]
    entries = take(stage_of("1.tar"))
    assert sorted(entry.key for entry in entries) == [A.key, B.key, C.key]
    (record,) = read_ledger(out).values()
    assert record.settled + record.stored == 3
    assert record.settled >= 1


def test_archive_that_was_read_in_part_is_read_again_the_next_time(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A, B), videos[0]))
    member = 512 + -(-len(videos[0]) // 512) * 512  # header and blocks: nothing is known of the second one
    server.faults["1.tar"] = [Fault(cut=member), Fault(status=404)]
    take(stage_of("1.tar"))
    assert outcomes(out) == {A.key: "done"}
    take(stage_of("1.tar"), (B,))
    assert outcomes(out) == {A.key: "done", B.key: "done"}


@pytest.mark.parametrize(
    ("faults", "requests", "cause"),
    [
        ([Fault(status=404)], 1, "not_found"),
        ([Fault(status=429, headers={"Retry-After": "3600"})], 1, "rate_limit"),
        ([Fault(status=503)] * 9, 3, "server_error"),
    ],
)
def test_archive_that_cannot_be_read_is_named_and_costs_no_other(
    stage_of, server, out, videos, log, faults, requests, cause
):
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    pack(server.folder / "2.tar", dict.fromkeys(names(B), videos[0]))
    server.faults["1.tar"] = list(faults)
    take(stage_of("1.tar", "2.tar"))
    assert outcomes(out) == {B.key: "done"}
    assert sum(path == "/1.tar" for path, _ in server.requests) == requests
    assert read_ledger(out)[f"{server.url}/1.tar"].cause == cause
    assert "archive not read whole: http://127.0.0.1" in log.text
    assert "1 archives read, 0 left unread, 1 failed" in log.text


def test_second_run_reads_only_archives_that_can_help(stage_of, server, out, videos, log):
    for i, one in enumerate((A, B, C)):
        pack(server.folder / f"{i}.tar", dict.fromkeys(names(one), videos[0]))
    take(stage_of("0.tar", "1.tar", "2.tar"), (A, B))  # the third is read too, as nobody knows what it holds
    log.clear()
    take(stage_of("0.tar", "1.tar", "2.tar"), (C, D))
    assert outcomes(out) == {A.key: "done", B.key: "done", C.key: "done"}
    assert "1 archives read, 2 left unread, 0 failed" in log.text


@pytest.mark.parametrize("tags", ['"{}"', ""])
def test_changed_archive_is_read_again(stage_of, server, out, videos, tags):
    server.tags = tags
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    take(stage_of("1.tar"))
    pack(server.folder / "1.tar", dict.fromkeys(names(B), videos[0]))  # of the same length
    take(stage_of("1.tar"), (B, C))
    assert outcomes(out) == {A.key: "done", B.key: "done"}


def test_corrupt_clip_is_no_reason_to_read_its_archive_again_unless_asked(stage_of, server, out, videos, log):
    pack(server.folder / "1.tar", {f"{A.key}.mp4": b"bad", f"{B.key}.mp4": videos[0]})
    take(stage_of("1.tar"))
    assert take(stage_of("1.tar"), (A, C)) == []
    assert "0 archives read, 1 left unread, 0 failed" in log.text
    log.clear()
    found = take(stage_of("1.tar", retry=("bad_media",)), (A, C))
    assert [entry.outcome.value for entry in found] == ["bad_media"]
    assert "1 archives read, 0 left unread, 0 failed" in log.text


def test_clip_that_was_lost_from_the_manifest_is_read_again(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    take(stage_of("1.tar"))
    (out / "manifest.jsonl").unlink()
    assert [entry.key for entry in take(stage_of("1.tar"))] == [A.key]


def test_dead_worker_costs_the_clip_at_which_it_died(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A, B, C), videos[0]))

    def dying(function, items, *, on_tick):
        for task in items:
            journal = ArchiveJournal.of(task.archive.address, folder=out)
            if B.key in journal.entries:
                yield task, function(task, on_tick)
                continue
            if A.key not in journal.entries:
                function(task, on_tick)  # as if it had come as far as B
                entries = journal.entries
                journal.delete()
                journal.finish(entries[A.key])
            journal.begin(B)
            if not journal.killers():
                yield task, WorkerDied("its worker process died")
            else:
                yield task, function(task, on_tick)

    take(stage_of("1.tar", run=dying))
    assert outcomes(out) == {A.key: "done", B.key: "quarantined", C.key: "done"}


def test_missing_entry_is_final_when_all_archives_were_read(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    stage = stage_of("1.tar")
    take(stage)
    entry = stage.missing_entry(D)
    assert (entry.outcome, entry.cause, entry.source) == (Outcome.UNAVAILABLE, "not_found", "mirror")
    assert entry.reason == "in none of the 1 archives"


@pytest.mark.parametrize(
    ("fault", "cause"), [(Fault(status=503), "server_error"), (Fault(status=404), "not_found"), (None, "damaged")]
)
def test_missing_entry_is_temporary_when_an_archive_was_not_read_whole(stage_of, server, out, videos, fault, cause):
    pack(server.folder / "1.tar", dict.fromkeys(names(A), videos[0]))
    name = "2.tar?key=word"
    whole = pack(server.folder / name, dict.fromkeys(names(B, C, D), videos[0]))
    if fault is None:
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    else:
        server.faults[name] = [fault] * 9
    stage = stage_of("1.tar", name)
    take(stage, (A, D))
    entry = stage.missing_entry(D)
    assert (entry.outcome, entry.cause) == (Outcome.TEMPORARY, cause)
    assert "of the 2 archives, of which 1 could not be read whole, the first: http" in entry.reason
    assert "key" not in entry.reason  # of a signed address


def test_bad_entry_does_not_replace_a_done_one(stage_of, server, out, videos):
    stage = stage_of("1.tar")
    done = ManifestEntry.of_clip(A, Outcome.DONE, path="x.mp4", sha256="0" * 64, source="youtube")
    stage._entries.add(done)
    ArchiveJournal.of("other", folder=out).finish(ManifestEntry.of_clip(A, Outcome.BAD_MEDIA, source="mirror"))
    pack(server.folder / "1.tar", {})
    assert take(stage, (B,)) == []


KILLED = """
    import sys
    from functools import partial
    from pathlib import Path
    from preprocess.annotations import Clip
    from preprocess.config import DownloadConfig, WorkerConfig
    from preprocess.mirror.stage import MirrorStage
    from preprocess.outcomes import append_manifest
    from preprocess.sources.http import Connection
    from preprocess.sources.mirror import Archive
    from preprocess.workers import run_tasks

    out, *addresses = sys.argv[1:]
    clips = [
        Clip(youtube_id=sign * 11, time_start=4, time_end=6, split="train", label="yoga", line=2) for sign in "abcdefgh"
    ]
    entries = {}
    stage = MirrorStage(
        [Archive(address=address) for address in addresses], wanted=clips, entries=entries,
        config=DownloadConfig(out=Path(out), url_template="http://x/{youtube_id}"),
        connection=Connection(), run=partial(run_tasks, config=WorkerConfig(workers=0)),
    )
    for entry in stage.take(clips):
        append_manifest(Path(out), entry)
        entries[entry.key] = entry
"""


def test_killed_run_is_resumed_by_archive(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A, B), videos[0]))
    size = pack(server.folder / "2.tar", dict.fromkeys(names(C, D, *REST[:2]), videos[0])).stat().st_size
    server.faults["2.tar"] = [Fault(cut=size // 2), Fault(silent=True)]
    out.mkdir()
    addresses = [f"{server.url}/{name}" for name in ("1.tar", "2.tar")]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), str(out), *addresses])
    deadline = time.monotonic() + 30
    while len(server.requests) < 3 and time.monotonic() < deadline:  # the archive broke, and its rest does not come
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert outcomes(out) == {A.key: "done", B.key: "done"}
    server.requests.clear()
    entries = take(stage_of("1.tar", "2.tar"), (C, D, *REST))
    assert outcomes(out) == dict.fromkeys((one.key for one in (A, B, C, D, *REST[:2])), "done")
    assert entries[0].key == C.key  # from the journal of the killed run, before anything is read
    record = read_ledger(out)[addresses[1]]
    assert record.settled >= 1  # not decoded again
    assert record.settled + record.stored == 4
    assert [path for path, _ in server.requests] == ["/1.tar", "/2.tar"]


def test_clip_of_a_killed_run_whose_file_is_gone_is_read_again(stage_of, server, out, videos):
    pack(server.folder / "1.tar", dict.fromkeys(names(A, B), videos[0]))
    entries = {entry.key: entry for entry in take(stage_of("1.tar"))}
    (out / "manifest.jsonl").unlink()
    journal = ArchiveJournal.of(f"{server.url}/1.tar", folder=out)
    for key in (A.key, B.key):
        journal.finish(entries[key])
    (out / entries[B.key].path).unlink()
    take(stage_of("1.tar"))
    assert outcomes(out) == {A.key: "done", B.key: "done"}
    assert (out / entries[B.key].path).is_file()


@pytest.mark.ray
def test_workers_do_the_same(stage_of, server, out, videos):
    for i, some in enumerate(((A, B), (C, D), REST)):
        pack(server.folder / f"{i}.tar", dict.fromkeys(names(*some), videos[0]))
    take(stage_of("0.tar", "1.tar", "2.tar", workers=2))
    assert outcomes(out) == {one.key: "done" for one in CLIPS}
    assert list((out / JOURNALS_NAME).iterdir()) == []
