"""No room for a byte or a file more, a disk that may not be written, little shared memory."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.shards.index import Index
from preprocess.shards.verify import verify_shard
from tests.crash.folders import contents, leftovers, published
from tests.crash.small_runs import CLIPS, make_inputs

ROOT = Path(__file__).parents[1]
# user and mount namespaces of its own: nothing outside sees the mounts, and they end with the command
IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*IN_NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    return tried.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="mounts need a user namespace, which is not to be had here")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    assert run(download(folder, folder / "clips")).returncode == 0
    assert run(flow(folder, folder / "shards")).returncode == 0
    return folder


def download(inputs, out):
    return ("download", inputs / "list.csv", "--source-dir", inputs / "videos", "--out", out, "--workers", 0)


def flow(inputs, out):
    return ("flow", inputs / "clips", "--short-side", 48, "--clips-per-shard", 1, "--out", out, "--cpus", 0)


def argv(arguments):
    return [sys.executable, "-m", "preprocess", *map(str, arguments)]


def run(arguments, **options):
    return subprocess.run(
        argv(arguments), capture_output=True, text=True, check=False, cwd=ROOT, timeout=120, **options
    )


def run_on(mount, arguments, keep):
    """Run a command that writes to `mount`/out, which `keep` is a copy of afterwards."""
    command = f'{mount}; status=0; "$@" || status=$?; cp -a "$MOUNT"/. "$KEEP"; exit $status'
    environment = {**os.environ, "MOUNT": str(arguments[arguments.index("--out") + 1].parent), "KEEP": str(keep)}
    return subprocess.run(
        [*IN_NAMESPACE, command, "sh", *argv(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=120,
    )


def assert_stopped(ended, said):
    assert ended.returncode == 3, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def assert_sound(out):
    assert leftovers(out) == []
    for path in out.glob("*.h5"):
        verify_shard(path)


NO_FILES = "size=8m,nr_inodes=7"


@needs_mount
@pytest.mark.parametrize(
    ("command", "room"),
    [(download, "size=48k"), (download, NO_FILES), (flow, "size=240k"), (flow, NO_FILES)],
    ids=["download, bytes", "download, files", "flow, bytes", "flow, files"],
)
def test_disk_that_fills_up(command, room, inputs, tmp_path):
    disk, keep = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    keep.mkdir()
    ended = run_on(f'mount -t tmpfs -o {room} none "$MOUNT"', command(inputs, disk / "out"), keep)
    assert_stopped(ended, "free space")
    assert_sound(keep / "out")
    assert not (keep / "out" / "index.json").exists()
    # what was done stays done, and with room the rest follows
    before = published(keep / "out")
    again = run(command(inputs, keep / "out"))
    assert again.returncode == 0, again.stderr
    after = published(keep / "out")
    assert {name: after[name] for name in before if not name.endswith(".csv")} == {
        name: content for name, content in before.items() if not name.endswith(".csv")
    }
    whole = {download: "clips", flow: "shards"}[command]
    assert contents(keep / "out") == contents(inputs / whole)


@needs_mount
@pytest.mark.parametrize("command", [download, flow], ids=["download", "flow"])
def test_read_only_disk(command, inputs, tmp_path):
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    mount = 'mount --bind "$MOUNT" "$MOUNT"; mount -o remount,bind,ro "$MOUNT"'
    ended = run_on(mount, command(inputs, tmp_path / "disk" / "out"), tmp_path / "kept")
    assert_stopped(ended, "Read-only file system; choose another folder")
    assert list((tmp_path / "disk" / "out").iterdir()) == []


def test_flow_with_a_file_size_limit(inputs, tmp_path):
    """As a full quota answers; and an interpreter that h5py would take down with it."""
    sizes = sorted(path.stat().st_size for path in (inputs / "shards").glob("*.h5"))
    assert len(sizes) == CLIPS
    limit = sizes[-1] - 1

    def little_room():
        # the soft limit: the decoder hands its frames over in a file in memory, and sets its own
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    out = tmp_path / "out"
    assert_stopped(run(flow(inputs, out), preexec_fn=little_room), "free space or choose another folder")
    assert_sound(out)
    assert run(flow(inputs, out)).returncode == 0
    assert contents(out) == contents(inputs / "shards")


@needs_mount
def test_flow_is_planned_before_it_begins(inputs, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "kept").mkdir()
    arguments = flow(inputs, tmp_path / "disk" / "out")
    ended = run_on('mount -t tmpfs -o size=64k none "$MOUNT"', arguments, tmp_path / "kept")
    assert_stopped(ended, " free; the 4 shards to make are planned at")
    assert list((tmp_path / "kept" / "out").glob("*.h5")) == []


@needs_mount
@pytest.mark.ray
def test_little_shared_memory_is_enough(inputs, tmp_path):
    out = tmp_path / "disk" / "out"
    out.parent.mkdir()
    (tmp_path / "kept").mkdir()
    arguments = (*flow(inputs, out)[:-1], 1)
    ended = run_on("mount -t tmpfs -o size=64m none /dev/shm", arguments, tmp_path / "kept")
    assert ended.returncode == 0, ended.stderr
    assert sum(info.clips for info in Index.read(out).shards) == CLIPS
    assert contents(out) == contents(inputs / "shards")
