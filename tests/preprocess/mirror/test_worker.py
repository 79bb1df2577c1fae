import hashlib
import time
from pathlib import Path

import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import EnvironmentProblem
from preprocess.media import read_clip
from preprocess.mirror import worker as module
from preprocess.mirror.ledger import KILLS, ArchiveJournal
from preprocess.mirror.wanted_index import write_wanted_index
from preprocess.mirror.worker import ArchiveTask, take_archive
from preprocess.outcomes import Outcome
from preprocess.paths import UNFINISHED
from preprocess.sources.http import Connection
from preprocess.sources.mirror import Archive
from tests.preprocess.archive_server import pack
from tests.preprocess.conftest import frame_numbers, numbered_frames, write_video


def clip(identifier, start=4, label="yoga"):
    return Clip(youtube_id=identifier, time_start=start, time_end=start + 2, split="train", label=label, line=2)


A, B, C = clip("a" * 11), clip("-b_bbbbbbbb"), clip("c" * 11, label="playing guitar")
NEVER = clip("n" * 11)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "x.mp4", numbered_frames(50)).read_bytes()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """One second."""
    return write_video(tmp_path_factory.mktemp("video") / "x.mp4", numbered_frames(25)).read_bytes()


@pytest.fixture
def take(tmp_path):
    """Packs members, takes the archive, and gives the result with the outcome of each clip."""

    def call(members=None, *, wanted=(A, B, C, NEVER), settled=(), known=None, ticks=None, path=None, **options):
        path = pack(tmp_path / "a.tar", members) if path is None else path
        index = tmp_path / "out" / f"{len(list(tmp_path.rglob('*.tsv')))}.tsv"
        write_wanted_index(index, wanted, pending={one.key for one in wanted if one not in settled})
        task = ArchiveTask(archive=Archive(address=str(path)), wanted=index, known=known)
        config = DownloadConfig(out=tmp_path / "out", source_dir=tmp_path, **options)
        tick = (lambda told: None) if ticks is None else ticks.append
        result = take_archive(task, tick, config=config, connection=Connection())
        return result, ArchiveJournal.of(str(path), folder=config.out).entries

    return call


def outcomes(entries):
    return {key: entry.outcome.value for key, entry in entries.items()}


def test_wanted_clips_are_stored_and_all_else_is_counted(take, tmp_path, video):
    ticks = []
    result, entries = take(
        {
            f"{A.key}.mp4": video,
            f"part/{C.key}.mp4": video,
            "._x.mp4": b"x",
            "readme.txt": b"x",
            f"{'x' * 11}.mp4": b"x",
        },
        ticks=ticks,
    )
    assert outcomes(entries) == {A.key: "done", C.key: "done"}
    assert (tmp_path / "out" / "train" / "playing_guitar" / f"{C.key}.mp4").read_bytes() == video
    record = result.record
    assert (record.outcome, record.stored, record.refused, record.unwanted) == (Outcome.DONE, 2, (), 2)
    assert record.skipped == {"AppleDouble": 1}
    assert record.members == (A.key, C.key, "x" * 11)
    assert [list(work.seconds) for work in ticks] == [["fetch", "inspect"]] * 2


def test_entry_tells_what_was_decoded(take, video):
    entry = take({f"{A.key}.mp4": video})[1][A.key]
    assert (entry.source, entry.frame_count, entry.duration_s, entry.label) == ("mirror", 50, 2.0, "yoga")
    assert (entry.sha256, entry.bytes) == (hashlib.sha256(video).hexdigest(), len(video))


def test_bad_clips_cost_themselves_only(take, video, half):
    members = {f"{A.key}.mp4": b"<html>", f"{B.key}.mp4": half, f"{C.key}.mp4": video}
    result, entries = take(members)
    assert outcomes(entries) == {A.key: "bad_media", B.key: "bad_media", C.key: "done"}
    assert [entries[one.key].cause for one in (A, B)] == ["damaged", "too_short"]
    assert "holds 1.00 of the 2 wanted seconds" in entries[B.key].reason
    assert (result.record.outcome, result.record.refused) == (Outcome.DONE, (A.key, B.key))


def test_names_that_lead_elsewhere_write_nothing_there(take, tmp_path, video):
    _, entries = take({f"../../{A.key}.mp4": video, f"/tmp/{B.key}.mp4": video, f"a/../../../{C.key}.mp4": video})
    assert set(outcomes(entries).values()) == {"done"}
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.mp4")}
    assert files == {"out"}
    assert not Path(f"/tmp/{B.key}.mp4").exists()


def test_nothing_unfinished_is_left(take, tmp_path, video):
    take({f"{A.key}.mp4": video, f"{B.key}.mp4": b"no video"})
    assert list((tmp_path / "out" / UNFINISHED).iterdir()) == []


def test_clip_by_its_id_alone_is_taken_when_no_other_has_it(take, video):
    _, entries = take(
        {f"{A.youtube_id}.mp4": video, f"{B.youtube_id}.mp4": video}, wanted=(A, B, clip(B.youtube_id, 50))
    )
    assert outcomes(entries) == {A.key: "done"}


def test_whole_video_by_its_id_is_trimmed(take, tmp_path):
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(175)).read_bytes()
    _, entries = take({f"{A.youtube_id}.mp4": whole})
    assert (entries[A.key].duration_s, entries[A.key].frame_count) == (2.0, 50)
    frames = read_clip(tmp_path / "out" / entries[A.key].path, short_side=48, max_frames=3)
    assert frame_numbers(frames) == [100, 101, 102]


def test_what_is_settled_is_not_decoded_again(take, tmp_path, video):
    result, entries = take({f"{A.key}.mp4": b"whatever", f"{B.key}.mp4": video}, settled=(A,))
    assert outcomes(entries) == {B.key: "done"}
    assert (result.record.settled, result.record.members) == (1, (A.key, B.key))


def test_second_copy_counts_when_the_first_is_bad(take, video):
    _, entries = take({f"x/{A.key}.mp4": b"bad", f"y/{A.key}.mp4": video, f"z/{A.key}.mp4": b"bad"})
    assert outcomes(entries) == {A.key: "done"}


def test_what_was_whole_before_the_damage_counts(take, tmp_path, video):
    path = pack(tmp_path / "a.tar", {f"{A.key}.mp4": video, f"{B.key}.mp4": video})
    path.write_bytes(path.read_bytes()[: len(video) + 2000])
    result, entries = take(path=path)
    assert outcomes(entries) == {A.key: "done"}
    assert (result.record.outcome, result.record.cause) == (Outcome.BAD_MEDIA, "damaged")
    assert result.record.members == (A.key, B.key)
    assert "a.tar" in result.record.reason


def test_archive_that_is_gone_is_recorded(take, tmp_path):
    result, _ = take(path=tmp_path / "none.tar")
    assert (result.record.outcome, result.record.cause) == (Outcome.UNAVAILABLE, "not_found")


def test_second_reading_does_not_decode_what_the_first_one_stored(take, tmp_path, video, monkeypatch):
    take({f"{A.key}.mp4": video})
    stored = []
    monkeypatch.setattr(module, "store_clip", lambda one, *_, **__: stored.append(one))
    result, entries = take({f"{A.key}.mp4": video})
    assert (stored, result.record.settled, outcomes(entries)) == ([], 1, {A.key: "done"})


def test_unchanged_archive_is_left_unread(take, tmp_path, video):
    path = pack(tmp_path / "a.tar", {f"{A.key}.mp4": video})
    version = take(path=path)[0].record.version
    assert take(path=path, known=version)[0].record is None


def test_changed_archive_is_read_again(take, tmp_path, video):
    version = take({f"{A.key}.mp4": video})[0].record.version
    result, entries = take({f"{B.key}.mp4": video}, known=version)
    assert result.record.members == (B.key,)
    assert entries[B.key].outcome is Outcome.DONE


def test_clip_that_kills_its_worker_is_quarantined_at_last(take, tmp_path, video, monkeypatch):
    def die(one, *_, **__):
        raise KeyboardInterrupt

    path = pack(tmp_path / "a.tar", {f"{A.key}.mp4": video, f"{B.key}.mp4": video})
    with monkeypatch.context() as patched:
        patched.setattr(module, "store_clip", die)
        for _ in range(KILLS):
            with pytest.raises(KeyboardInterrupt):
                take(path=path)
    _, entries = take(path=path)
    assert outcomes(entries) == {A.key: "quarantined", B.key: "done"}
    assert entries[A.key].cause == "worker_died"


def test_clip_that_takes_for_ever_costs_itself_only(take, video, monkeypatch):
    monkeypatch.setattr(module, "store_clip", lambda *_, **__: time.sleep(60))
    result, entries = take({f"{A.key}.mp4": video}, deadline_s=0.5)
    assert (entries[A.key].outcome, entries[A.key].cause) == (Outcome.BAD_MEDIA, "timeout")
    assert result.record.outcome is Outcome.DONE


def test_full_disk_ends_the_run(take, video, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "store_clip", full)
    with pytest.raises(EnvironmentProblem, match=r"No space left on device.*free space"):
        take({f"{A.key}.mp4": video})
