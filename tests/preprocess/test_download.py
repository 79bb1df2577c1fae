import csv
import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from preprocess.annotations import ClipList, read_lists
from preprocess.config import DownloadConfig, WorkerConfig
from preprocess.download import download
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.media import read_clip
from preprocess.outcomes import MANIFEST_NAME, read_manifest
from preprocess.schedule import RetryPolicy
from preprocess.sources import ytdlp
from preprocess.status.run_status import Status
from preprocess.status.work import STAGES
from preprocess.wanted import wanted_of
from tests.preprocess.conftest import frame_numbers, numbered_frames, write_video

GOOD, SHORT, BROKEN, GONE, BUSY = "good_abcdef", "short_abcde", "broken_abcd", "gone_abcdef", "-busy_abcde"


@pytest.fixture
def listed(video_server, write_list):
    write_video(video_server.folder / f"{GOOD}.mp4", numbered_frames(150))
    write_video(video_server.folder / f"{SHORT}.mp4", numbered_frames(50))
    (video_server.folder / f"{BROKEN}.mp4").write_bytes(b"\x00" * 5000)
    write_video(video_server.folder / f"{BUSY}.mp4", numbered_frames(150))
    video_server.faults[f"{BUSY}.mp4"] = 503
    rows = [("playing guitar", identifier, 1, 4, "train") for identifier in (GOOD, SHORT, BROKEN, GONE, BUSY)]
    path = write_list(*rows, ("yoga", "bad id", 1, 4, "train"))
    found = read_lists([path])
    return wanted_of(found, found.clips)


@pytest.fixture
def run(listed, video_server, tmp_path):
    def call(**options):
        source = (
            {"source_dir": options["source_dir"]}
            if "source_dir" in options
            else {"url_template": video_server.template}
        )
        retries = RetryPolicy(tries=2, first_s=0.01)
        config = DownloadConfig(
            out=tmp_path / "clips", retry=options.get("retry", frozenset()), retries=retries, **source
        )
        wanted = options.get("listed", listed)
        return download(wanted, config=config, workers=WorkerConfig(workers=options.get("workers", 0)))

    return call


def outcomes(folder):
    return {entry.youtube_id: entry.outcome.value for entry in read_manifest(folder).values()}


def test_every_clip_ends_in_one_outcome(run, tmp_path):
    report = run()
    assert outcomes(tmp_path / "clips") == {
        GOOD: "done",
        SHORT: "bad_media",
        BROKEN: "bad_media",
        GONE: "unavailable",
        BUSY: "temporary",
    }
    assert report.outcomes == {"done": 1, "unavailable": 1, "bad_media": 2, "temporary": 1, "refused": 1}
    assert (report.rows, report.fetched, report.missing) == (6, 1, 5)


def test_clip_is_the_wanted_seconds(run, tmp_path):
    run()
    (path,) = (tmp_path / "clips").rglob("*.mp4")
    assert path.relative_to(tmp_path / "clips").parts == ("train", "playing_guitar", f"{GOOD}_000001_000004.mp4")
    assert frame_numbers(read_clip(path, short_side=48)) == list(range(25, 100))


def test_manifest_line_tells_what_was_decoded(run, tmp_path):
    import hashlib

    run()
    entry = read_manifest(tmp_path / "clips")[f"{GOOD}_000001_000004"]
    content = (tmp_path / "clips" / entry.path).read_bytes()
    assert (entry.frame_count, entry.duration_s, entry.fps, entry.width, entry.height) == (75, 3.0, 25.0, 64, 48)
    assert (entry.sha256, entry.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_status_tells_what_was_worked(run, tmp_path):
    run()
    entry = read_manifest(tmp_path / "clips")[f"{GOOD}_000001_000004"]
    work = Status.read(tmp_path / "clips").work
    assert (work.frames, work.bytes, work.flow_pairs) == (entry.frame_count, entry.bytes, 0)
    assert min(work.seconds[stage] for stage in STAGES["download"]) > 0


def test_missing_says_why(run, tmp_path):
    run()
    rows = {
        row["youtube_id"]: row for row in csv.DictReader((tmp_path / "clips" / "missing.csv").read_text().splitlines())
    }
    assert rows[SHORT]["reason"] == "holds 1.00 of the 3 wanted seconds (25 frames)"
    assert "not a video file" in rows[BROKEN]["reason"]
    assert "HTTP Error 404" in rows[GONE]["reason"]
    assert (rows[""]["status"], rows[""]["line"]) == ("refused", "7")
    causes = {identifier: row["cause"] for identifier, row in rows.items()}
    assert causes == {
        SHORT: "too_short",
        BROKEN: "damaged",
        GONE: "not_found",
        BUSY: "server_error",
        "": "",
    }


def test_files_of_others_stay(run, tmp_path):
    others = [tmp_path / "clips" / name for name in (".tmp/notes.txt", ".draft.tmp.txt")]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    run()
    assert all(path.exists() for path in others)


def test_nothing_half_written_is_left(run, tmp_path):
    run()
    names = {path.name for path in (tmp_path / "clips").rglob("*") if path.is_file()}
    assert names == {
        ".lock",
        MANIFEST_NAME,
        "list.csv",
        "list.json",
        "missing.csv",
        "status.json",
        f"{GOOD}_000001_000004.mp4",
    }


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_clip_that_is_done_and_not_there_is_had_again(run, tmp_path, caplog, damage):
    run()
    (path,) = (tmp_path / "clips").rglob("*.mp4")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1])
    report = run()
    assert (report.fetched, report.outcomes["done"]) == (1, 1)
    assert path.read_bytes() == content
    assert f"1 clips of {tmp_path / 'clips'} are fetched again where wanted: of each, its file is gone" in caplog.text
    assert run().fetched == 0


def test_disk_that_does_not_say_what_is_there_fails(run, tmp_path, monkeypatch):
    run()
    (path,) = (tmp_path / "clips").rglob("*.mp4")
    real = os.stat

    def failing(place, **options):
        if place == str(path):
            raise OSError(errno.EIO, "Input/output error")
        return real(place, **options)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(EnvironmentProblem, match=rf"{path.name} cannot be looked at \(Input/output error\)"):
        run()


def test_second_run_tries_only_what_may_have_changed(run, listed, video_server, caplog):
    run()
    video_server.requests.clear()
    video_server.faults.clear()
    assert caplog.text == ""
    others = replace(listed, clips=tuple(replace(clip, split="val") for clip in listed.clips))
    report = run(listed=others)
    assert {name for _, name, _ in video_server.requests} == {f"{BUSY}.mp4"}
    assert (report.fetched, report.outcomes["done"]) == (1, 2)
    # what is done stays where it is, and is not so silently
    assert f"in another split or class than this list says, such as {GOOD}_000001_000004; to have" in caplog.text


def test_retry_tries_the_named_outcomes_again(run, video_server):
    run()
    video_server.requests.clear()
    run(retry=frozenset({"unavailable"}))
    assert {name for _, name, _ in video_server.requests} == {f"{GONE}.mp4", f"{BUSY}.mp4"}


def test_another_source_is_asked_for_what_the_first_did_not_have(run, tmp_path):
    run()
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / f"{GONE}.mp4", numbered_frames(120))
    assert run(source_dir=folder).outcomes["done"] == 2


def test_resume_trusts_the_manifest_and_not_the_file(run, tmp_path):
    run()
    manifest = tmp_path / "clips" / MANIFEST_NAME
    (path,) = (tmp_path / "clips").rglob("*.mp4")
    content = path.read_bytes()
    path.write_bytes(content[:100])  # what a kill between rename and manifest line could never leave, and a crash might
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(keepends=True) if GOOD not in line))
    run()
    assert path.read_bytes() == content


def test_finished_clips_are_taken_as_they_are(run, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    clip = write_video(folder / f"{GOOD}_000001_000004.mp4", numbered_frames(75))
    run(source_dir=folder)
    (made,) = (tmp_path / "clips").rglob("*.mp4")
    assert made.read_bytes() == clip.read_bytes()


def test_sections_give_the_same_frames_as_the_whole_video(run, tmp_path, monkeypatch, video_server):
    run()
    (path,) = (tmp_path / "clips").rglob("*.mp4")
    from_whole = read_clip(path)
    monkeypatch.setattr(ytdlp, "SECTION_MIN_BYTES", 0)
    (tmp_path / "clips" / MANIFEST_NAME).unlink()
    video_server.requests.clear()
    run()
    methods = [method for method, name, _ in video_server.requests if name.startswith(GOOD)]
    assert methods.count("GET") >= 2  # yt-dlp looked, ffmpeg fetched
    assert np.array_equal(read_clip(path), from_whole)


def test_killer_is_quarantined_and_tried_again_when_asked(run, tmp_path, monkeypatch):
    from preprocess.errors import WorkerDied
    from preprocess.workers import WorkerPool

    def dying(pool, function, supply, **options):
        while (attempt := supply.take()) is not None:
            yield attempt, WorkerDied("its worker process died (WorkerCrashedError)")

    with monkeypatch.context() as patched:
        patched.setattr(WorkerPool, "run", dying)
        assert run().outcomes == {"quarantined": 5, "refused": 1}
    assert run().outcomes == {"quarantined": 5, "refused": 1}
    assert run(retry=frozenset({"quarantined"})).outcomes["done"] == 1


@pytest.mark.parametrize(("sign", "holds"), [("plan.json", "shards"), ("fold1.csv", "what `preprocess index` made")])
def test_clips_do_not_go_where_something_else_is(run, tmp_path, sign, holds):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / sign).write_text("{}")
    with pytest.raises(InvalidInput, match=rf"clips holds {holds} \({sign}\); choose another --out"):
        run()
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {sign, ".lock"}


def test_folder_that_cannot_be_made_fails(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    config = DownloadConfig(out=tmp_path / "file" / "x", source_dir=tmp_path)
    with pytest.raises(EnvironmentProblem, match="cannot make the folder"):
        download(wanted_of(ClipList(clips=(), refused=()), []), config=config, workers=WorkerConfig(workers=0))


def test_youtube_without_javascript_fails_before_anything_is_written(tmp_path, monkeypatch):
    from yt_dlp.globals import supported_js_runtimes

    monkeypatch.setattr(supported_js_runtimes, "value", {})
    with pytest.raises(EnvironmentProblem, match=r"JavaScript runtime for YouTube, found none; pip install"):
        download(
            wanted_of(ClipList(clips=(), refused=()), []),
            config=DownloadConfig(out=tmp_path / "clips"),
            workers=WorkerConfig(workers=0),
        )
    assert not (tmp_path / "clips").exists()


@pytest.mark.ray
def test_workers_do_the_same(run, tmp_path):
    assert run(workers=2).outcomes == {"done": 1, "unavailable": 1, "bad_media": 2, "temporary": 1, "refused": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url_template": "http://host/video.mp4"}, "lacks {youtube_id}"),
        ({"url_template": "http://host/{label}/{youtube_id}"}, "has {label}; only {youtube_id} is filled in"),
        ({"url_template": "file:///etc/{youtube_id}"}, "must start with http"),
        ({"url_template": "https:///{youtube_id}.mp4"}, "the name of a host"),
        ({"url_template": "https://[host/{youtube_id}.mp4"}, "the name of a host"),
        ({"url_template": "https://host:port/{youtube_id}.mp4"}, "the name of a host"),
        ({"min_share": 0.0}, "min_share must be above 0"),
        ({"retry": frozenset({"done"})}, "retry knows unavailable, bad_media, quarantined, got"),
    ],
)
def test_config_fails(tmp_path, options, message):
    with pytest.raises(InvalidInput, match=message):
        DownloadConfig(out=tmp_path, **options)
