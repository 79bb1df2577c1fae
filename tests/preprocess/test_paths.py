import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import (
    check_writable,
    exclusive,
    inside,
    label_folder,
    publish,
    sweep_temporaries,
    swept,
    temporary_beside,
)


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("using segway", "using_segway"),
        ("mountain climber (exercise)", "mountain_climber_(exercise)"),
        ("massaging person's head", "massaging_person's_head"),
        ("", "unlabelled"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\x00b\n\x1b[2J", "a_b___2J"),
        ("...", "unlabelled"),
        ("-rf", "rf"),
    ],
)
def test_label_folder(label, folder):
    assert label_folder(label) == folder


def test_label_folder_is_short_enough_for_any_file_system():
    assert label_folder("\u00e9" * 500) == "\u00e9" * 40
    assert label_folder("a" + "\u00e9" * 500) == "a" + "\u00e9" * 39  # and no letter is cut in two


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_inside_fails(tmp_path, relative):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="leads outside"):
        inside(root, relative)


def test_publish_replaces_whole(tmp_path):
    path = tmp_path / "new" / "er" / "file.bin"
    publish(path, b"old")
    publish(path, [b"n", b"ew"])
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_publish_syncs_the_file_before_its_name_and_the_name_after(tmp_path, monkeypatch):
    path, synced, descriptors = tmp_path / "file.bin", [], []

    def sync(descriptor):
        found = os.fstat(descriptor)
        synced.append((found.st_ino == tmp_path.stat().st_ino, found.st_size, path.exists()))
        descriptors.append(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    publish(path, b"new")
    assert synced == [(False, 3, False), (True, tmp_path.stat().st_size, True)]
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_publish_keeps_the_old_file_when_the_disk_is_full(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom preprocess.paths import publish\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\npublish(Path(sys.argv[1]), b'x' * 5000)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "EnvironmentProblem" in run.stderr
    assert "free space" in run.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_publish_into_a_file_fails(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        publish(tmp_path / "a" / "b", b"")


def test_check_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path):
    check_writable(tmp_path / "new" / "out.json")
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


def test_check_writable_fails(tmp_path):
    with pytest.raises(InvalidInput, match=rf"{tmp_path} is a folder; give the name of a file"):
        check_writable(tmp_path)
    # a folder that takes no files, not even root's
    with pytest.raises(EnvironmentProblem, match=r"cannot write /proc/self/out\.json: .*; choose another folder"):
        check_writable(Path("/proc/self/out.json"))


def test_sweep_deletes_only_temporaries_of_ours(tmp_path):
    (tmp_path / "sub").mkdir()
    stale = [temporary_beside(tmp_path / name) for name in ("clip.mp4", "status", "sub/clip.mp4")]
    kept = [tmp_path / name for name in ("clip.mp4", ".notes.tmp", ".draft.tmp.txt", "sub/.a.tmp1", ".b.12-x.tmp")]
    for path in (*stale, *kept):
        path.write_bytes(b"x")
    temporary_beside(tmp_path / "folder").mkdir()  # no file, so none of ours
    sweep_temporaries(tmp_path)
    assert [path.exists() for path in stale] == [False, False, True]
    sweep_temporaries(tmp_path, subfolders=True)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_swept_deletes_before_and_after(tmp_path):
    killed, stopped = (temporary_beside(tmp_path / "clip.mp4") for _ in range(2))
    killed.touch()
    with suppress(KeyboardInterrupt), swept(tmp_path):
        assert not killed.exists()
        stopped.touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_swept_leaves_subfolders_alone(tmp_path):
    other = temporary_beside(tmp_path / "another run" / "clip.mp4")
    other.parent.mkdir()
    other.write_bytes(b"x")
    with swept(tmp_path):
        pass
    assert other.exists()


def test_exclusive_names_the_holder(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom preprocess.paths import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    pass\n"
    )
    with exclusive(tmp_path):
        run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in run.stderr


def test_disk_without_locks_is_told(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.raises(EnvironmentProblem, match=r"\.lock cannot be locked .*-o flock"), exclusive(tmp_path):
        pass


def test_exclusive_is_free_again_afterwards(tmp_path: Path):
    with exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass
