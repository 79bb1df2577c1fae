import errno
import os

import pytest

from preprocess.linking import link_or_copy


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.mp4"
    path.write_bytes(b"content")
    return path


def test_link_shares_the_content(source, tmp_path):
    assert link_or_copy(source, tmp_path / "target")
    assert (tmp_path / "target").samefile(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP])
def test_copy_where_no_link_can_be_made(source, tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("preprocess.linking.os.link", refuse)
    assert not link_or_copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"content"
    assert not (tmp_path / "target").samefile(source)


def test_other_file_system_is_copied_to(source):
    from pathlib import Path

    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == source.stat().st_dev:
        pytest.skip("no second file system here")
    target = other / f"kineflow-test-{os.getpid()}"
    try:
        assert not link_or_copy(source, target)
        assert target.read_bytes() == b"content"
    finally:
        target.unlink(missing_ok=True)


def test_read_only_file_can_be_linked_synced_and_renamed(source, tmp_path):
    source.chmod(0o444)
    link_or_copy(source, tmp_path / "made")
    with (tmp_path / "made").open("rb") as file:
        os.fsync(file.fileno())
    (tmp_path / "made").replace(tmp_path / "final")
    assert source.read_bytes() == (tmp_path / "final").read_bytes()
    assert source.stat().st_mode & 0o777 == 0o444


def test_deleting_one_name_leaves_the_other(source, tmp_path):
    link_or_copy(source, tmp_path / "target")
    (tmp_path / "target").unlink()
    assert source.read_bytes() == b"content"


@pytest.mark.parametrize("linkable", [True, False])
def test_symbolic_link_is_refused(source, tmp_path, monkeypatch, linkable):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if not linkable:
        monkeypatch.setattr("preprocess.linking.os.link", refuse)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(OSError, match="symbolic link"):
        link_or_copy(tmp_path / "link", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_target_that_exists_fails(source, tmp_path):
    (tmp_path / "target").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        link_or_copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_source_that_is_gone_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "none", tmp_path / "target")
