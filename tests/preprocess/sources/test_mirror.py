import errno
import os

import pytest

from preprocess.annotations import Clip
from preprocess.errors import InvalidInput, TemporarilyUnavailable, Unavailable
from preprocess.schedule import RetryPolicy
from preprocess.sources import mirror as module
from preprocess.sources.http import Connection, quoted
from preprocess.sources.mirror import MIRRORS, Archive, Mirror, archives_of, narrowed
from tests.preprocess.archive_server import Fault, pack, serving_archives

QUICK = Connection(timeout_s=5, retries=RetryPolicy(tries=3, first_s=0.01, longest_s=0.02))


@pytest.fixture
def server(tmp_path):
    with serving_archives(tmp_path / "site") as running:
        yield running


def addresses(mirror, **options):
    return [archive.address for archive in archives_of(str(mirror), connection=QUICK, **options)]


def clip(label, split="train"):
    return Clip(youtube_id="-abc_defGHI", time_start=0, time_end=10, split=split, label=label, line=2)


@pytest.fixture
def published(server, monkeypatch):
    """A mirror laid out like those of `MIRRORS`, on the test's own server."""
    base = f"{server.url}/"
    for split in ("train", "val"):
        (server.folder / f"{split}.txt").write_text(f"{base}{split}/part 0.tar.gz\n{base}{split}/part 1.tar.gz\n")
    lists = {split: f"{base}{split}.txt" for split in ("train", "val")}
    monkeypatch.setitem(MIRRORS, "tiny", Mirror(lists=lists, replacements=(f"{base}replacement.tgz",)))
    return base


def test_published_mirrors_are_where_upstream_says():
    assert MIRRORS["kinetics400"].lists["val"] == "https://s3.amazonaws.com/kinetics/400/val/k400_val_path.txt"
    assert MIRRORS["kinetics700"].lists["test"].endswith("/700_2020/test/k700_2020_test_path.txt")
    assert MIRRORS["kinetics400"].replacements[0].endswith("/400/replacement_for_corrupted_k400.tgz")
    assert not MIRRORS["kinetics600"].replacements


def test_replacements_come_first_then_the_lists_in_order(published):
    assert addresses("tiny") == [
        f"{published}replacement.tgz",
        *(f"{published}{split}/part {i}.tar.gz" for split in ("train", "val") for i in (0, 1)),
    ]


def test_only_lists_of_the_wanted_splits_are_read(published, server):
    found = archives_of("tiny", splits={"val"}, connection=QUICK)
    assert [archive.split for archive in found] == [None, "val", "val"]
    assert [path for path, _ in server.requests] == ["/val.txt"]


def test_list_from_a_server_with_comments_blank_lines_and_relative_addresses(server):
    (server.folder / "lists").mkdir()
    text = "\ufeff# archives\r\n\r\n  a b.tar.gz  \r\n/c.tar\r\nhttps://other/d.tgz\r\na b.tar.gz\r\n"
    (server.folder / "lists" / "own.txt").write_text(text, encoding="utf-8")
    assert addresses(f"{server.url}/lists/own.txt") == [
        f"{server.url}/lists/a b.tar.gz",
        f"{server.url}/c.tar",
        "https://other/d.tgz",
    ]


def test_local_list_names_paths_beside_it_and_addresses(tmp_path):
    (tmp_path / "own").write_text("a.tar\n/data/b.tar\nhttps://h/c.tar\n")
    assert addresses(tmp_path / "own") == [str(tmp_path / "a.tar"), "/data/b.tar", "https://h/c.tar"]


def test_lines_that_are_no_utf_8_name_bytes(server, tmp_path):
    (tmp_path / "own").write_bytes(b"https://h/caf\xe9.tar\ncaf\xe9.tar\n")
    there, here = addresses(tmp_path / "own")
    assert quoted(there) == "https://h/caf%E9.tar"
    assert os.fsencode(here).endswith(b"caf\xe9.tar")


@pytest.mark.parametrize("name", [".", "own.txt", "a.tar"])
def test_paths_are_absolute(tmp_path, monkeypatch, name):
    pack(tmp_path / "a.tar", {"a.mp4": b"x"})
    (tmp_path / "own.txt").write_text("a.tar\n")
    monkeypatch.chdir(tmp_path)
    assert addresses(name) == [str(tmp_path / "a.tar")]


@pytest.mark.parametrize(
    "line",
    ["file:///etc/passwd", "ftp://h/a.tar", "https://user:word@h/a.tar", "s3://b/a.tar", "http://[h/a.tar"],
)
def test_line_that_cannot_be_read_fails_with_its_number(server, tmp_path, line):
    (server.folder / "own.txt").write_text(f"a.tar\n{line}\n")
    for path in (f"{server.url}/own.txt", server.folder / "own.txt"):
        with pytest.raises(InvalidInput, match=r"own\.txt, line 2: address '.*' cannot be used"):
            addresses(path)


def test_remote_list_cannot_name_files_of_this_machine(server):
    (server.folder / "own.txt").write_text("/etc/passwd\n../../x.tar\n")
    assert addresses(f"{server.url}/own.txt") == [f"{server.url}/etc/passwd", f"{server.url}/x.tar"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_single_archive_is_known_by_its_bytes(server, mode):
    path = pack(server.folder / "any name", {"a.mp4": b"x"}, mode=mode)
    assert addresses(path) == [str(path)]
    assert addresses(f"{server.url}/any name") == [f"{server.url}/any name"]


def test_folder_is_searched_for_archives(tmp_path, caplog):
    for name in ("b/c/x.tar", "b/y.tar.gz", "a.TGZ", "._a.tgz", "readme.txt", ".hidden/z.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.tar").symlink_to(tmp_path / "b" / "y.tar.gz")
    (tmp_path / "readme").symlink_to(tmp_path / "readme.txt")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert addresses(tmp_path) == [str(tmp_path / name) for name in ("a.TGZ", "b/y.tar.gz", "b/c/x.tar")]
    assert f"links are not followed, of which {tmp_path} has 2, such as {tmp_path / 'c'}" in caplog.text


def test_folder_of_archives_that_cannot_be_read_is_told(tmp_path, caplog, monkeypatch):
    scandir, theirs = os.scandir, str(tmp_path / "theirs")

    def of_others(path):
        if path == theirs:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    (tmp_path / "theirs").mkdir()
    (tmp_path / "x.tar").touch()
    monkeypatch.setattr(os, "scandir", of_others)
    assert addresses(tmp_path) == [str(tmp_path / "x.tar")]
    assert f"folder {theirs} cannot be read and was left out: Permission denied" in caplog.text


def test_replacements_of_ones_own_are_known_by_their_name(tmp_path):
    for name in ("part_1.tar", "replacement_for_corrupted_k400.tgz"):
        (tmp_path / name).write_bytes(b"")
    assert [archive.replaces for archive in archives_of(str(tmp_path))] == [True, False]


@pytest.mark.parametrize("name", ["", "kinetics500", "/no/such/folder", "ftp://host/list.txt"])
def test_unknown_mirror_fails(name):
    with pytest.raises(InvalidInput, match="is neither of kinetics400, kinetics600, kinetics700"):
        archives_of(name)


def test_mirror_without_archives_fails(tmp_path):
    (tmp_path / "list.txt").write_text("# nothing\n")
    for place in (tmp_path, tmp_path / "list.txt"):
        with pytest.raises(InvalidInput, match="names no archive"):
            addresses(place)


def test_list_that_is_a_web_page_or_gone_fails(server):
    (server.folder / "list.txt").write_text("<html>Sign in</html>")
    with pytest.raises(Unavailable, match="is a web page"):
        addresses(f"{server.url}/list.txt")
    with pytest.raises(Unavailable, match="HTTP 404"):
        addresses(f"{server.url}/gone.txt")


def test_text_that_names_no_archive_that_is_there_fails(tmp_path):
    (tmp_path / "list.csv").write_text(f"label,youtube_id\nyoga,{clip('yoga').youtube_id}\n")
    with pytest.raises(
        InvalidInput, match=r"none of the 2 archives that mirror '.*list.csv' names is there, .*path list"
    ):
        archives_of(str(tmp_path / "list.csv"))


def test_list_that_is_endless_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LIST_BYTES", 1000)
    (tmp_path / "list.txt").write_text("a.tar\n" * 500)
    with pytest.raises(InvalidInput, match="larger than 1000 bytes"):
        addresses(tmp_path / "list.txt")


def test_busy_server_is_asked_for_its_list_again_and_that_is_said(published, server, caplog):
    server.faults["val.txt"] = [Fault(status=503), Fault(status=429)]
    assert len(addresses("tiny", splits={"val"})) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "val.txt: HTTP 503 Service Unavailable; again in 0 s" in caplog.text


def test_busy_server_is_not_asked_for_ever(published, server):
    server.faults["val.txt"] = [Fault(status=503) for _ in range(9)]
    with pytest.raises(TemporarilyUnavailable, match="HTTP 503"):
        addresses("tiny", splits={"val"})
    assert len(server.requests) == QUICK.retries.tries


def test_archives_of_other_splits_and_classes_are_left_out():
    archives = [
        Archive(address="https://h/r.tgz", replaces=True),
        Archive(address="https://h/train/mountain%20climber%20(exercise).tar.gz", split="train"),
        Archive(address="https://h/train/playing_guitar.tar.gz", split="train"),
        Archive(address="https://h/train/yoga.tar.gz", split="train"),
        Archive(address="https://h/val/yoga.tar.gz", split="val"),
    ]
    kept = narrowed(archives, [clip("mountain climber (exercise)"), clip("playing guitar")])
    assert [archive.address for archive in kept] == [archive.address for archive in archives[:3]]


def test_all_archives_are_kept_unless_each_class_has_its_own():
    archives = [Archive(address=f"/data/{name}.tar") for name in ("yoga", "part_1", "playing_guitar")]
    assert narrowed(archives, [clip("yoga"), clip("juggling")]) == tuple(archives)
    assert narrowed(archives, [clip(None)]) == tuple(archives)
    assert narrowed(archives, [clip("yoga")]) == tuple(archives[:2])  # part_1 may hold clips of any class
