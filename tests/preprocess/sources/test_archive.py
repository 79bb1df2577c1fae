import contextlib
import gzip
import io
import os
import re
import tarfile

import pytest

from preprocess.errors import BadMedia, Cause, TemporarilyUnavailable
from preprocess.schedule import RetryPolicy
from preprocess.sources import archive as module
from preprocess.sources.archive import open_archive
from preprocess.sources.http import Connection
from tests.preprocess.archive_server import Fault, pack, serving_archives

QUICK = Connection(timeout_s=5, retries=RetryPolicy(tries=3, first_s=0.01, longest_s=0.02))
MEMBERS = {f"{i}.mp4": os.urandom(20_000 + i) for i in range(20)}


@pytest.fixture
def server(tmp_path):
    with serving_archives(tmp_path / "site") as running:
        yield running


def read(address, *, connection=QUICK):
    found = {}
    with open_archive(str(address), connection=connection) as reader:
        for member in reader.members():
            found[member.name] = member.file.read()
            assert len(found[member.name]) == member.size
    return found


def read_until_damage(address, error=BadMedia):
    """What was whole before it, and the error."""
    found = {}

    def read_all():
        with open_archive(str(address), connection=QUICK) as reader:
            for member in reader.members():
                content = member.file.read()
                found[member.name] = content

    with pytest.raises(error) as caught:
        read_all()
    return found, caught.value


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.gz", "w"), ("a.tar", "w:gz")]
)
def test_first_bytes_tell_whether_it_is_zipped_and_not_the_name(server, name, mode):
    pack(server.folder / name, MEMBERS, mode=mode)
    assert read(f"{server.url}/{name}") == MEMBERS
    assert read(server.folder / name) == MEMBERS


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_in_all_formats(tmp_path, format_):
    names = ["kl\u00e4tt\u00e4\u00e4/" + "x" * 90 + ".mp4", "a" * 60 + "/" + "b" * 60]
    with tarfile.open(tmp_path / "a.tar", "w", format=format_) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert list(read(tmp_path / "a.tar")) == names


def test_what_is_no_regular_file_is_skipped_and_counted(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in {
            "folder": tarfile.DIRTYPE,
            "link.mp4": tarfile.SYMTYPE,
            "hard.mp4": tarfile.LNKTYPE,
            "pipe": tarfile.FIFOTYPE,
            "disk": tarfile.BLKTYPE,
            "._a.mp4": tarfile.REGTYPE,
            "folder/._b.mp4": tarfile.REGTYPE,
            "a.mp4": tarfile.REGTYPE,
        }.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    with open_archive(str(tmp_path / "a.tar")) as reader:
        assert [member.name for member in reader.members()] == ["a.mp4"]
        assert reader.skipped == {"folder": 1, "link": 2, "special file": 2, "AppleDouble": 2}


def test_names_that_lead_elsewhere_are_told_and_not_followed(tmp_path):
    names = ["../../x.mp4", "/tmp/x.mp4", "a/../../x.mp4"]
    pack(tmp_path / "in" / "a.tar", dict.fromkeys(names, b"x"))
    assert list(read(tmp_path / "in" / "a.tar")) == names
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "in"]


def test_members_need_not_be_read(tmp_path):
    pack(tmp_path / "a.tar", MEMBERS)
    with open_archive(str(tmp_path / "a.tar")) as reader:
        firsts = {member.name: member.file.read(10) for member in reader.members() if member.name != "3.mp4"}
    assert firsts == {name: content[:10] for name, content in MEMBERS.items() if name != "3.mp4"}


def test_connection_that_is_cut_again_and_again_changes_nothing(server):
    size = pack(server.folder / "a.tar", MEMBERS).stat().st_size
    server.faults["a.tar"] = [Fault(cut=size // 3), Fault(cut=size // 2)]
    assert read(f"{server.url}/a.tar") == MEMBERS
    assert server.ranges_asked()[1:] == [f"bytes={size // 3}-", f"bytes={size // 2}-"]


def test_zipped_and_cut_with_a_server_that_ignores_ranges(server):
    server.ranges = False
    server.faults["a.tgz"] = [Fault(cut=200_000)]
    pack(server.folder / "a.tgz", MEMBERS, mode="w:gz")
    assert read(f"{server.url}/a.tgz") == MEMBERS


def test_connection_lost_for_good_gives_what_was_whole(server):
    pack(server.folder / "a.tar", MEMBERS)
    server.faults["a.tar"] = [Fault(cut=100_000) for _ in range(3)]
    found, error = read_until_damage(f"{server.url}/a.tar", TemporarilyUnavailable)
    assert list(found) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert error.cause is Cause.CONNECTION


def test_changed_while_read_fails(server):
    pack(server.folder / "a.tar", MEMBERS)
    other = pack(server.folder / "b.tar", {name: content[::-1] for name, content in MEMBERS.items()})
    server.faults["a.tar"] = [Fault(cut=100_000), Fault(content=other.read_bytes())]
    found, error = read_until_damage(f"{server.url}/a.tar", TemporarilyUnavailable)
    assert "changed while it was read" in str(error)
    assert found.items() <= MEMBERS.items()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_archive_cut_short_gives_what_was_whole(tmp_path, mode, share):
    path = pack(tmp_path / "a.tar", MEMBERS, mode=mode)
    content = path.read_bytes()
    # gzip checks its content at its very end; a plain tar ends with a mark, and padding after it
    whole = (
        len(content) if mode == "w:gz" else len(MEMBERS) * 512 + sum(-(-len(m) // 512) * 512 for m in MEMBERS.values())
    )
    path.write_bytes(content[: int(share * whole)])
    found, error = read_until_damage(path)
    assert found == dict(list(MEMBERS.items())[: len(found)])
    assert f"{path}, byte " in str(error)
    assert error.cause is Cause.DAMAGED


def test_cut_between_two_members_is_noticed(tmp_path):
    path = pack(tmp_path / "a.tar", {"a": b"x" * 512, "b": b"y" * 512})
    path.write_bytes(path.read_bytes()[:1024])
    found, error = read_until_damage(path)
    assert list(found) == ["a"]
    assert "ends after 1 members without the mark" in str(error)


def test_damaged_header_in_the_middle_is_noticed(tmp_path):
    path = pack(tmp_path / "a.tar", {"a": b"x" * 512, "b": b"y" * 512})
    content = bytearray(path.read_bytes())
    content[1024:1100] = b"\xff" * 76
    path.write_bytes(content)
    found, error = read_until_damage(path)
    assert list(found) == ["a"]
    assert "byte 1536 of the tar" in str(error)


def test_gzip_damaged_in_the_middle_is_noticed(tmp_path):
    path = pack(tmp_path / "a.tgz", {name: b"ab" * 50_000 + content for name, content in MEMBERS.items()}, mode="w:gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    found, error = read_until_damage(path)
    assert "0.mp4" in found
    # what a flipped bit does depends on where in the stream it lies
    assert re.search(r"a\.tgz.*(gzip damaged|byte \d+ of the tar)", str(error))


def test_wrong_checksum_at_the_end_of_gzip_is_noticed(tmp_path):
    path = pack(tmp_path / "a.tgz", MEMBERS, mode="w:gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    assert "CRC check failed" in str(read_until_damage(path)[1])


@pytest.mark.parametrize(
    ("content", "message", "cause"),
    [
        (b"", "is empty", Cause.NOT_VIDEO),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page, not an archive: b'<!DOCTYPE html", Cause.NOT_VIDEO),
        (b"\n <?xml version='1.0'?><Error/>", "is a web page", Cause.NOT_VIDEO),
        (b"PK\x03\x04" + b"x" * 1000, r"is no tar archive, gzipped or not .*begins with b'PK", Cause.NOT_VIDEO),
        (gzip.compress(b"x" * 1000, mtime=0), "is no tar archive, gzipped or not", Cause.NOT_VIDEO),
        (gzip.compress(b"", mtime=0), "is no tar archive, gzipped or not", Cause.NOT_VIDEO),
        (b"\x1f\x8b" + b"x" * 100, "gzip damaged", Cause.DAMAGED),
        (bytes(10_240), "is an archive without members", Cause.DAMAGED),
    ],
)
def test_what_is_no_archive_fails(server, content, message, cause):
    (server.folder / "a.tar.gz").write_bytes(content)
    for address in (f"{server.url}/a.tar.gz", server.folder / "a.tar.gz"):
        with pytest.raises(BadMedia, match=f"(?s)a.tar.gz.*{message}") as caught:
            read(address)
        assert caught.value.cause is cause


def test_members_that_are_too_large_or_archives_are_skipped_by_name(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "MAX_MEMBER_BYTES", 1000)
    pack(tmp_path / "a.tar", {"large.mp4": bytes(1001), "b.mp4": bytes(1000), "val/part_0.tar.gz": b"x"})
    assert list(read(tmp_path / "a.tar")) == ["b.mp4"]
    assert "skipped 'large.mp4', larger than 2 GiB" in caplog.text
    assert "skipped 'val/part_0.tar.gz', an archive itself" in caplog.text


def test_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RATIO_FROM_BYTES", 1 << 20)
    pack(tmp_path / "a.tgz", {"a.mp4": b"x", "zeros.mp4": bytes(20 << 20)}, mode="w:gz")
    found, error = read_until_damage(tmp_path / "a.tgz")
    assert list(found) == ["a.mp4"]
    assert "unpack to more than 100 times as many" in str(error)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_that_claims_gigabytes_is_refused(tmp_path, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 8 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BadMedia, match="a header of 8589934592 bytes"):
        read(tmp_path / "a.tar")


def test_header_that_points_backwards_is_refused(tmp_path):
    info = tarfile.TarInfo("x")
    header = bytearray(info.tobuf())
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # size -1024, in base 256: endless in Python before 3.11.14
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    with pytest.raises(BadMedia, match=r"points backwards|invalid offset"):
        read(tmp_path / "a.tar")


def test_chain_of_headers_without_end_is_refused(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((info.tobuf() + b"a".ljust(512, b"\0")) * 3000)
    with pytest.raises(BadMedia, match="recursion"):
        read(tmp_path / "a.tar")


def test_what_follows_the_end_is_told(tmp_path, caplog):
    first = pack(tmp_path / "a.tar", {"a": b"x"}).read_bytes()
    (tmp_path / "b.tar").write_bytes(first + first)
    assert list(read(tmp_path / "b.tar")) == ["a"]
    assert "after the archive's end were left out" in caplog.text


def test_random_damage_never_gives_a_wrong_member_silently(tmp_path):
    import random

    path = pack(tmp_path / "a.tgz", MEMBERS, mode="w:gz")
    content = path.read_bytes()
    for seed in range(100):
        draw = random.Random(seed)
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(BadMedia):
            assert read(path) == MEMBERS  # a bit that does not count, such as the time stamp


def test_random_bytes_in_a_plain_tar_raise_nothing_else(tmp_path):
    import random

    path = pack(tmp_path / "a.tar", {name: content[:600] for name, content in MEMBERS.items()})
    content = path.read_bytes()
    for seed in range(300):
        draw = random.Random(seed)
        damaged = bytearray(content)
        start = draw.randrange(len(MEMBERS)) * 1536 + draw.randrange(512)
        damaged[start : start + 8] = draw.randbytes(8)
        path.write_bytes(damaged)
        with contextlib.suppress(BadMedia):
            read(path)
