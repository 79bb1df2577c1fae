import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocess import media, media_child, media_process
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.deadline import DeadlinePassed, deadline
from preprocess.errors import BadMedia, Cause, EnvironmentProblem, UnreadableFile
from preprocess.media_process import inspect, probe, read_clip
from preprocess.regular_file import sha256_of
from preprocess.sharding import make_shards
from preprocess.shards import Shard
from tests.preprocess.conftest import textured_frames, write_video

# what a decoder does to its process, for a file called by it; `{}` is a folder for notes
POISON = """
import ctypes, os, signal, sys, time
sys.path[:] = sys.argv[2:]
from pathlib import Path
from preprocess import media_child
real = media_child.clip_frames
def clip_frames(path, **options):
    notes = Path({notes!r}) / path.stem
    with notes.open("a") as file:
        file.write(str(os.getpid()) + " ")
    if path.stem == "crash" or (path.stem in {{"once", "both"}} and len(notes.read_text().split()) == 1):
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "killed" or (path.stem == "both" and len(notes.read_text().split()) == 2):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.stem == "hang":
        while True:
            time.sleep(0.01)
    if path.stem == "stuck":  # in C, and no other thread of Python gets its turn
        ctypes.PyDLL(None).sleep(600)
    if path.stem == "greedy":
        bytearray(media_child.MEMORY_BYTES)
    if path.stem == "bug":
        raise AssertionError("a mistake of ours")
    return real(path, **options)
media_child.clip_frames = clip_frames
media_child.main(int(sys.argv[1]))
"""


@pytest.fixture
def poisoned(tmp_path, monkeypatch):
    """Decoders that can be brought down by the name of a file; `started` reads the ids of the processes that tried."""
    notes = tmp_path / "notes"
    notes.mkdir()
    media_process.end_all()
    monkeypatch.setattr(media_process, "_START", POISON.format(notes=str(notes)))
    yield lambda name: [int(pid) for pid in (notes / name).read_text().split()]
    media_process.end_all()


@pytest.fixture
def clip(tmp_path):
    return lambda name: write_video(tmp_path / f"{name}.mp4", textured_frames(6))


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_frames_and_header_are_those_of_the_module_itself(clip):
    path = clip("a")
    for options in ({"short_side": 48}, {"short_side": 100}, {"short_side": 48, "max_frames": 2}):
        assert np.array_equal(read_clip(path, **options), media.read_clip(path, **options))
    assert probe(path) == media.probe(path)


def test_what_decoding_showed_is_that_of_the_module_itself(tmp_path):
    still = np.concatenate([textured_frames(10), np.zeros((60, 48, 64, 3), np.uint8), textured_frames(10)])
    path = write_video(tmp_path / "a.mp4", still)
    found = inspect(path)
    assert found == media.inspect(path)
    assert len(found.black) == len(found.frozen) == 1


def test_answer_longer_than_a_message_is_refused(tmp_path, monkeypatch):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = write_video(tmp_path / "a.mp4", textured_frames(3))
    monkeypatch.setattr(media_child, "MESSAGE_BYTES", 100)
    with ours, theirs:
        media_child._answer(theirs, {"call": "inspect", "path": str(path)})
        assert json.loads(ours.recv(1000)) == {"bad_media": "a.mp4: too many still pictures", "cause": "damaged"}


@pytest.mark.parametrize("error", [BadMedia("damaged after 2 frames"), MemoryError(), AssertionError()])
def test_frames_up_to_a_damage_do_not_stay_in_memory(tmp_path, monkeypatch, error):
    def clip_frames(path, **_):
        yield from textured_frames(2)
        raise error

    monkeypatch.setattr(media_child, "clip_frames", clip_frames)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        before = len(list(Path("/proc/self/fd").iterdir()))
        media_child._answer(
            theirs, {"call": "read_clip", "path": "a.mp4", "fps": "25", "short_side": 48, "max_frames": None}
        )
        answer, descriptors, _, _ = socket.recv_fds(ours, 1 << 17, 1)
        assert answer
        assert descriptors == []
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_frames_may_be_changed_and_outlive_the_process(clip):
    media_process.end_all()
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    frames = read_clip(clip("a"), short_side=48)
    media_process.end_all()
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before + 1  # the mapping has one
    frames[:] = 7
    assert frames.mean() == 7


def test_bad_media_keeps_its_words(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"<html>")
    for ask in (read_clip, probe, inspect, media.read_clip):
        with pytest.raises(BadMedia, match=r"^x\.mp4: not a video file in an allowed container"):
            ask(tmp_path / "x.mp4")


def test_single_frame_fails(tmp_path):
    with pytest.raises(BadMedia, match=r"one\.mp4: 1 frames at 25 fps, at least 2"):
        read_clip(write_video(tmp_path / "one.mp4", textured_frames(1)))


def test_process_is_used_again(poisoned, clip):
    for name in ("a", "b", "a"):
        read_clip(clip(name), short_side=48)
    assert len({*poisoned("a"), *poisoned("b")}) == 1


def test_process_is_replaced_after_many_clips(poisoned, clip, monkeypatch):
    monkeypatch.setattr(media_process, "_RECYCLE_AFTER", 2)
    for _ in range(3):
        read_clip(clip("a"), short_side=48)
    first, second, third = poisoned("a")
    assert first == second != third
    assert not is_alive(first)


def test_clip_that_crashes_its_decoder_twice_is_bad_media(poisoned, clip):
    with pytest.raises(
        BadMedia, match=r"crash\.mp4: its decoder died twice \(killed by SIGSEGV, then killed by SIGSEGV\)"
    ) as caught:
        read_clip(clip("crash"), short_side=48)
    assert caught.value.cause is Cause.WORKER_DIED
    assert len(set(poisoned("crash"))) == 2


@pytest.mark.parametrize(("name", "first"), [("killed", "SIGKILL"), ("both", "SIGSEGV")])
def test_decoder_killed_from_outside_is_no_bad_media(poisoned, clip, name, first):
    words = rf"{name}\.mp4: its decoder died twice \(killed by {first}, then killed by SIGKILL\); .*memory"
    with pytest.raises(UnreadableFile, match=words):
        read_clip(clip(name), short_side=48)
    assert len(set(poisoned(name))) == 2


def test_decoder_that_ends_before_it_reads_has_died(clip, monkeypatch):
    media_process.end_all()
    start = "import os, select, sys; select.select([int(sys.argv[1])], [], []); os._exit(3)"
    monkeypatch.setattr(media_process, "_START", start)
    with pytest.raises(BadMedia, match=r"died twice \(exit status 3, then exit status 3\)"):
        read_clip(clip("a"), short_side=48)


def test_clip_whose_decoder_died_by_chance_is_decoded(poisoned, clip):
    assert len(read_clip(clip("once"), short_side=48)) == 6
    assert len(poisoned("once")) == 2


@pytest.mark.parametrize("name", ["hang", "stuck"])
def test_endless_decode_is_killed(poisoned, clip, name):
    read_clip(clip("a"), short_side=48)  # starting takes a while
    started = time.monotonic()
    with pytest.raises(BadMedia, match=rf"{name}\.mp4: not decoded within 0\.3 s"):
        read_clip(clip(name), short_side=48, deadline_s=0.3)
    assert time.monotonic() - started < 5
    (pid,) = poisoned(name)
    assert not is_alive(pid)
    assert len(read_clip(clip("a"), short_side=48)) == 6


def test_deadline_of_the_caller_ends_the_decoder_too(poisoned, clip):
    read_clip(clip("a"), short_side=48)
    path = clip("hang")
    with pytest.raises(DeadlinePassed), deadline(0.5):
        read_clip(path, short_side=48)
    (pid,) = poisoned("hang")
    assert not is_alive(pid)


def test_decoder_that_wants_too_much_memory_is_refused_it(poisoned, clip):
    with pytest.raises(BadMedia, match=r"greedy\.mp4: needs more memory than a decoder may have"):
        read_clip(clip("greedy"), short_side=48)


@pytest.mark.parametrize(
    ("limit", "size", "name", "words"),
    [
        (resource.RLIMIT_FSIZE, 10_000, "a", r"a\.mp4 cannot be kept in memory \(File too large; see ulimit -f\)"),
        (
            resource.RLIMIT_AS,
            4 << 30,
            "greedy",
            r"greedy\.mp4 needs more memory than a decoder gets here",
        ),
    ],
)
def test_limit_of_the_machine_is_no_bad_media(poisoned, clip, limit, size, name, words):
    path = clip(name)
    with _lower_limit(limit, size), pytest.raises(EnvironmentProblem, match=words):
        read_clip(path, short_side=48)


def test_memory_that_a_conversion_lacks_here_is_no_bad_media(clip, monkeypatch):
    class Reformatter:
        def reformat(self, *_, **__):
            raise MemoryError

    path = clip("a")
    with media.open_video(path) as video:
        _, frame = next(video.frames())
        with pytest.raises(BadMedia) as caught:
            replace(video, _reformatter=Reformatter()).converted(frame, "rgb24")
    allowed = media_child.MEMORY_BYTES
    for limit, answer in ((allowed - 1, "environment"), (allowed, "bad_media")):
        monkeypatch.setattr(resource, "getrlimit", lambda what, limit=limit: (limit, limit))
        assert answer in media_child._failure(caught.value, path)


@contextmanager
def _lower_limit(limit, size):
    """For the processes that are started in the block."""
    start = media_process._START
    lower = f"import resource; resource.setrlimit({limit}, ({size}, {size}))\n"
    media_process._START = lower + start
    try:
        yield
    finally:
        media_process._START = start


@pytest.mark.parametrize("ask", [read_clip, probe, inspect, media.read_clip, sha256_of])
def test_file_that_is_gone_is_no_bad_media(tmp_path, ask):
    with pytest.raises(UnreadableFile, match=r"/gone\.mp4 is not there; mount its disk"):
        ask(tmp_path / "gone.mp4")


def test_mistake_of_ours_is_no_bad_media(poisoned, clip):
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        read_clip(clip("bug"), short_side=48)


def test_decoders_that_died_while_they_waited_are_replaced(poisoned, clip):
    media_process._idle += [media_process._Child(), media_process._Child()]
    for child in media_process._idle:
        child._process.kill()
    assert len(read_clip(clip("a"), short_side=48)) == 6


def test_answer_that_does_not_fit_its_file_is_not_believed(tmp_path):
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, bytes(100))
        with pytest.raises(RuntimeError, match=r"handed over 100 bytes for frames of shape \(2, 4, 5, 3\)"):
            media_process._frames_in(descriptor, (2, 4, 5, 3))
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 10)
    finally:
        os.close(descriptor)


def test_poisoned_clips_cost_only_themselves(poisoned, tmp_path, monkeypatch):
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    for index, name in enumerate(("a", "crash", "greedy", "z")):
        write_video(folder / f"{name}.mp4", textured_frames(4, seed=index))
    config = FlowConfig(short_side=48, backend="opencv")
    report = make_shards(tmp_path / "clips", tmp_path / "shards", config=config, workers=WorkerConfig(workers=0))
    assert report.clips == 2
    assert report.failed.keys() == {"crash", "greedy"}
    assert Shard(tmp_path / "shards" / "train-00000-of-00001.h5").clips.key.tolist() == [b"a", b"z"]


PARENT = """
import sys
from pathlib import Path
from preprocess import media_process
media_process._START = {start!r}
media_process.read_clip(Path({path!r}), short_side=48)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_decoder_ends_with_whoever_started_it(poisoned, clip, ending):
    script = PARENT.format(start=media_process._START, path=str(clip("hang")))
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        try:
            pid = _wait_for(lambda: poisoned("hang")[0])
            parent.send_signal(ending)
            parent.wait(timeout=20)
        finally:
            parent.kill()
    _wait_for(lambda: not is_alive(pid) or _is_zombie(pid))


def _is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _wait_for(condition, *, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if found := condition():
                return found
        except (FileNotFoundError, IndexError):
            pass
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


def test_fork_does_not_ask_the_decoders_of_its_parent(clip):
    probe(clip("a"))
    assert media_process._idle
    if (pid := os.fork()) == 0:
        os._exit(len(media_process._idle))
    assert os.waitpid(pid, 0)[1] == 0


def test_decoder_may_take_so_much(clip):
    media_process.end_all()
    probe(clip("a"))
    (child,) = media_process._idle
    limits = {
        resource.RLIMIT_AS: media_child.MEMORY_BYTES,
        resource.RLIMIT_FSIZE: media.MAX_CLIP_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    assert {what: resource.prlimit(child._process.pid, what) for what in limits} == {
        what: (most, most) for what, most in limits.items()
    }


@pytest.mark.parametrize(("hard", "taken"), [(resource.RLIM_INFINITY, 8), (9, 8), (7, 7)])
def test_limits_are_lowered_only(monkeypatch, hard, taken):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (5, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda what, pair: limits.append(pair))
    media_child._limit(resource.RLIMIT_AS, 8)
    assert limits == [(taken, taken)]


def test_child_says_what_it_is_limited_to():
    assert media_child.MEMORY_BYTES >= 4 * media.MAX_PIXELS * 3 * 16  # sixteen reference frames at 16 bits, and more
