"""Several sources in one run: each is asked for what those before it did not have."""

import csv
import json
from itertools import pairwise

import pytest

from preprocess.annotations import read_lists
from preprocess.config import DownloadConfig, Identity, WorkerConfig
from preprocess.download import _Run, download
from preprocess.errors import InvalidInput
from preprocess.outcomes import ManifestEntry, Outcome, read_manifest
from preprocess.schedule import RetryPolicy
from preprocess.status.run_status import RunStatus
from preprocess.wanted import wanted_of
from tests.preprocess.archive_server import pack
from tests.preprocess.conftest import numbered_frames, textured_frames, write_video

IDS = [letter * 11 for letter in "abcd"]
RETRIES = RetryPolicy(tries=2, first_s=0.01)


@pytest.fixture
def listed(write_list):
    found = read_lists([write_list(*(("riding a bike", identifier, 1, 3, "val") for identifier in IDS))])
    return wanted_of(found, found.clips)


@pytest.fixture
def run(listed, tmp_path):
    def call(workers=0, callbacks=(), **options):
        config = DownloadConfig(out=tmp_path / "clips", retries=RETRIES, **options)
        report = download(listed, config=config, workers=WorkerConfig(workers=workers), **dict(callbacks))
        return report, {entry.youtube_id[0]: entry for entry in read_manifest(config.out).values()}

    return call


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", textured_frames(50)).read_bytes()


@pytest.fixture
def mirror(tmp_path, clip):
    folder = tmp_path / "archives"
    folder.mkdir()
    names = [f"{identifier}_000001_000003.mp4" for identifier in IDS[:3]]
    members = {f"val/{names[0]}": clip, f"val/{names[1]}": b"moov atom not found", f"val/._{names[2]}": clip}
    pack(folder / "part_0.tar.gz", members, mode="w")
    return folder


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_mirror_first_and_the_rest_one_by_one(run, mirror, video_server, workers):
    for identifier in IDS[1:3]:
        write_video(video_server.folder / f"{identifier}.mp4", numbered_frames(100))
    report, entries = run(workers, sources=("mirror", "url"), mirror=str(mirror), url_template=video_server.template)
    assert report.outcomes == {"done": 3, "unavailable": 1}
    assert {name: entry.source for name, entry in entries.items()} == {
        "a": "mirror",
        "b": "url",  # the archive's copy is damaged
        "c": "url",
        "d": "mirror,url",
    }
    asked = {name for _, name, _ in video_server.requests}
    assert asked == {f"{identifier}.mp4" for identifier in IDS[1:]}


def test_a_mirror_alone_says_what_it_lacks(run, mirror):
    report, entries = run(mirror=str(mirror))
    assert report.outcomes == {"done": 1, "unavailable": 2, "bad_media": 1}
    assert (entries["d"].cause, entries["d"].reason) == ("not_found", "in none of the 1 archives")
    assert entries["b"].cause == "damaged"


@pytest.mark.parametrize("first", [b"moov atom not found", None])
def test_a_clip_that_two_archives_hold_counts_once(run, tmp_path, clip, first, monkeypatch):
    told, published = [], []
    monkeypatch.setattr(RunStatus, "_replace", lambda _, content: published.append(json.loads(content)))
    monkeypatch.setattr("preprocess.status.run_status.PUBLISH_EVERY_S", 0.0)
    first = first or write_video(tmp_path / "other.mp4", numbered_frames(50)).read_bytes()
    for number, content in enumerate((first, clip)):
        member = {f"val/{IDS[0]}_000001_000003.mp4": content}
        pack(tmp_path / "archives" / f"part_{number}.tar", member, mode="w")
    on_clip = {"on_clip": lambda entry, total: told.append((entry.key[0], total))}
    report, _ = run(mirror=str(tmp_path / "archives"), callbacks=on_clip)
    assert (report.fetched, report.outcomes) == (1, {"done": 1, "unavailable": 3})
    assert sorted(told) == [("a", 4), ("b", 4), ("c", 4), ("d", 4)]
    for earlier, later in pairwise(status["outcomes"] for status in published):
        assert all(later[outcome] >= clips for outcome, clips in earlier.items())  # as Prometheus asks of a counter
    status = published[-1]
    assert (status["finished"], status["total"]) == (4, 4)
    assert status["sources"] == {"mirror": status["outcomes"]} == {"mirror": {"done": 1, "unavailable": 3}}


def test_a_source_that_is_down_leaves_it_to_the_next_one_and_is_asked_again(run, video_server, clip):
    write_video(video_server.folder / f"{IDS[0]}.mp4", numbered_frames(100))
    both = {"mirror": f"{video_server.url}/list.txt", "url_template": video_server.template}
    report, entries = run(sources=("mirror", "url"), **both)
    assert report.outcomes == {"done": 1, "temporary": 3}
    assert entries["a"].source == "url"
    assert (entries["b"].source, entries["b"].cause) == ("mirror,url", "not_found")
    assert "list.txt: HTTP 404" in entries["b"].reason
    pack(video_server.folder / "part.tar", {f"{IDS[1]}_000001_000003.mp4": clip}, mode="w")
    (video_server.folder / "list.txt").write_text("part.tar\n")
    report, entries = run(sources=("mirror", "url"), **both)
    assert report.outcomes == {"done": 2, "unavailable": 2}
    assert entries["b"].source == "mirror"


@pytest.mark.parametrize(
    ("first", "last", "stands"),
    [
        ("temporary", "unavailable", "temporary"),
        ("temporary", "bad_media", "temporary"),
        ("temporary", "quarantined", "quarantined"),  # it would kill a worker in each run
        ("unavailable", "temporary", "temporary"),
        ("bad_media", "unavailable", "unavailable"),
        ("quarantined", "unavailable", "quarantined"),
        ("quarantined", "temporary", "quarantined"),
    ],
)
def test_what_stands_of_what_two_sources_said(run, tmp_path, monkeypatch, first, last, stands):
    said = {"directory": first, "url": last}

    def ask(_run, _pool, source, clips):
        return [ManifestEntry.of_clip(clip, Outcome(said[source]), reason=said[source]) for clip in clips]

    monkeypatch.setattr(_Run, "_ask", ask)
    _, entries = run(source_dir=tmp_path, url_template="http://127.0.0.1/{youtube_id}")
    assert {(entry.outcome, entry.reason, entry.source) for entry in entries.values()} == {
        (stands, stands, "directory,url")
    }


def test_a_source_is_not_asked_for_nothing(run, tmp_path, clip, video_server):
    tree = tmp_path / "tree"
    tree.mkdir()
    for identifier in IDS:
        (tree / f"{identifier}_000001_000003.mp4").write_bytes(clip)
    report, _ = run(source_dir=tree, mirror=f"{video_server.url}/list.txt")
    assert report.outcomes == {"done": 4}
    assert video_server.requests == []


@pytest.mark.parametrize(
    ("mirror", "proxy", "message"),
    [
        ("kinetics40", None, "mirror 'kinetics40' is neither of"),
        ("http://user@host/list.txt", None, "without a user"),
        ("kinetics400", "socks5://127.0.0.1:1", "archives need such a one"),
    ],
)
def test_a_mirror_that_cannot_be_asked_fails_before_other_sources_are(run, tmp_path, mirror, proxy, message):
    with pytest.raises(InvalidInput, match=message):
        run(sources=("directory", "mirror"), source_dir=tmp_path, mirror=mirror, identities=(Identity(proxy=proxy),))
    assert not (tmp_path / "clips").exists()


def test_a_mirror_without_its_list_says_nothing_about_a_clip(run, video_server):
    report, entries = run(mirror=f"{video_server.url}/list.txt")
    assert report.outcomes == {"temporary": 4}
    assert entries["a"].cause == "not_found"


def test_a_second_run_reads_nothing_again(run, mirror, video_server):
    run(mirror=str(mirror))
    report, _ = run(sources=("mirror", "url"), mirror=str(mirror), url_template=video_server.template)
    assert report.fetched == 0
    asked = {name[0] for _, name, _ in video_server.requests}
    assert asked == {"b", "c", "d"}  # the archive is not read again, the other source was not asked yet
    video_server.requests.clear()
    run(sources=("mirror", "url"), mirror=str(mirror), url_template=video_server.template)
    assert video_server.requests == []


@pytest.mark.parametrize("folder", ["riding a bike", "riding_a_bike"])
def test_a_tree_of_clips_is_taken_over_by_hard_link(run, tmp_path, clip, folder):
    tree = tmp_path / "tree" / "val" / folder
    tree.mkdir(parents=True)
    theirs = tree / f"{IDS[0]}_000001_000003.mp4"
    theirs.write_bytes(clip)
    theirs.chmod(0o444)
    report, entries = run(source_dir=tmp_path / "tree")
    assert report.outcomes == {"done": 1, "unavailable": 3}
    ours = tmp_path / "clips" / entries["a"].path
    assert ours.samefile(theirs)
    assert theirs.read_bytes() == clip


def test_folder_then_address(run, tmp_path, clip, video_server):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / f"{IDS[0]}_000001_000003.mp4").write_bytes(clip)
    write_video(video_server.folder / f"{IDS[1]}.mp4", numbered_frames(100))
    sources = {"source_dir": tree, "url_template": video_server.template}
    _, entries = run(**sources)
    assert [entries[letter].source for letter in "abc"] == ["directory", "url", "directory,url"]
    gone = entries["d"]
    video_server.requests.clear()
    (tree / f"{IDS[2]}_000001_000003.mp4").write_bytes(clip)  # since the run before, in the same process
    _, entries = run(**sources)
    assert [entries[letter].source for letter in "abc"] == ["directory", "url", "directory"]
    assert (entries["d"], video_server.requests) == (gone, [])  # the address has said so before


def test_missing_lists_what_no_source_had(run, mirror, tmp_path):
    run(mirror=str(mirror))
    rows = list(csv.DictReader((tmp_path / "clips" / "missing.csv").read_text().splitlines()))
    assert [(row["youtube_id"][0], row["status"]) for row in rows] == [
        ("b", "bad_media"),
        ("c", "unavailable"),
        ("d", "unavailable"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": ("ftp",)}, "source 'ftp' is unknown; use directory, mirror, url, youtube"),
        ({"sources": ("mirror", "youtube")}, "source mirror needs --mirror"),
        ({"sources": ("youtube",), "mirror": "kinetics400"}, "--mirror is given, but youtube leaves out mirror"),
        ({"sources": ("youtube", "youtube")}, "a source stands twice in youtube,youtube"),
        ({"rate": 1e-300}, "rate must be at least 0.01 videos an hour, got 1e-300"),
        ({"deadline_s": -1.0}, "deadline_s must be above 0 s and at most 604800 s, got -1"),
        ({"deadline_s": float("inf")}, "deadline_s must be above 0 s and at most 604800 s, got inf"),
    ],
)
def test_config_fails(tmp_path, options, message):
    with pytest.raises(InvalidInput, match=message):
        DownloadConfig(out=tmp_path, **options)
