"""`preprocess.media` in a process of its own, which can be killed: for videos that nobody vouches for.

A process is kept and used again, since it takes half a second to start. One that does not answer in time is killed. One
that dies gets a successor, which tries the same video alone once more; if that dies too, it is the video, unless one of
them was ended by SIGKILL: no video can send that, a machine that runs out of memory does.
"""

import atexit
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.errors import BadMedia, Cause, UnreadableFile
from preprocess.media import VideoInfo
from preprocess.media_child import MESSAGE_BYTES
from preprocess.stillness import Stretch

DEADLINE_S = 600.0
"""Wall-clock seconds for one clip: many times what the longest one takes on a busy core."""

_TRIES = 2
_OUT_OF_MEMORY = "killed by SIGKILL"
_RECYCLE_AFTER = 1000  # requests, so that what a decoder leaks does not grow
_START = "import sys; sys.path[:] = sys.argv[2:]; from preprocess.media_child import main; main(int(sys.argv[1]))"
_SEALS = 0x2 | 0x4  # F_SEAL_SHRINK and F_SEAL_GROW of linux/fcntl.h, which Python 3.11 does not name


class _Died(Exception):
    """The process ended without an answer."""


def read_clip(
    path: Path,
    *,
    fps: Fraction = Fraction(25),
    short_side: int = 256,
    max_frames: int | None = None,
    deadline_s: float = DEADLINE_S,
) -> np.ndarray:
    """As `preprocess.media.read_clip`; the result is uint8 [T, H, W, 3] too.

    Raises:
        BadMedia: as there; or not decoded within `deadline_s`, or its decoder died twice.
        UnreadableFile: the file cannot be read, or this machine has not the memory.
    """
    answer, descriptors = _ask(
        {"call": "read_clip", "fps": str(fps), "short_side": short_side, "max_frames": max_frames},
        path,
        deadline_s=deadline_s,
    )
    try:
        count, height, width = (int(number) for number in answer["shape"])
        if count < 2:
            raise BadMedia(f"{path.name}: {count} frames at {fps} fps, at least 2 are needed")
        return _frames_in(descriptors[0], (count, height, width, 3))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def probe(path: Path) -> tuple[float, int, int]:
    """As `preprocess.media.probe`.

    Raises:
        BadMedia: as there; or no answer within `DEADLINE_S`, or its decoder died twice.
        UnreadableFile: the file cannot be read, or this machine has not the memory.
    """
    answer, _ = _ask({"call": "probe"}, path)
    seconds, height, width = answer["probe"]
    return float(seconds), int(height), int(width)


def inspect(path: Path) -> VideoInfo:
    """As `preprocess.media.inspect`.

    Raises:
        BadMedia: as there; or not decoded within `DEADLINE_S`, or its decoder died twice.
        UnreadableFile: the file cannot be read, or this machine has not the memory.
    """
    answer, _ = _ask({"call": "inspect"}, path)
    fields = dict(answer["inspect"])
    for name in ("frozen", "black"):
        fields[name] = tuple(
            Stretch(**{place: Fraction(seconds) for place, seconds in stretch.items()}) for stretch in fields[name]
        )
    return VideoInfo(**fields)


def _frames_in(descriptor: int, shape: tuple[int, ...]) -> np.ndarray:
    # sealed first: a file that shrinks under a mapping ends the process that looks at it
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    size, expected = os.fstat(descriptor).st_size, int(np.prod(shape, dtype=object))
    if size != expected:
        raise RuntimeError(f"the decoder handed over {size} bytes for frames of shape {shape}")
    mapped = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE)
    return np.frombuffer(mapped, np.uint8).reshape(shape)


def _ask(request: dict[str, Any], path: Path, *, deadline_s: float = DEADLINE_S) -> tuple[dict[str, Any], list[int]]:
    """The answer to a request, and the files that came with it.

    Raises:
        BadMedia, UnreadableFile: see `read_clip`.
    """
    message = json.dumps({**request, "path": str(path.absolute())}).encode()
    deaths: list[str] = []
    while len(deaths) < _TRIES:
        try:
            with _borrowed(fresh=bool(deaths)) as child:
                answer, descriptors = child.ask(message, deadline_s=deadline_s)
        except _Died as death:
            deaths.append(str(death))
        except TimeoutError as error:
            raise BadMedia(f"{path.name}: not decoded within {deadline_s:g} s") from error
        else:
            if "mistake" in answer:
                raise RuntimeError(f"decoding {str(path)!r} failed:\n{answer['mistake']}")
            if "unreadable" in answer:
                raise UnreadableFile(str(answer["unreadable"]))
            if "environment" in answer:
                raise UnreadableFile(f"{answer['environment']}; raise the limit, or leave this video out")
            if "bad_media" in answer:
                raise BadMedia(str(answer["bad_media"]), cause=Cause(answer["cause"]))
            return answer, descriptors
    how = f"its decoder died twice ({', then '.join(deaths)})"
    if _OUT_OF_MEMORY in deaths:
        remedy = "most likely this machine ran out of memory; run fewer workers, or leave this video out"
        raise UnreadableFile(f"{path}: {how}; {remedy}")
    raise BadMedia(f"{path.name}: {how}", cause=Cause.WORKER_DIED)


class _Child:
    """One process and the socket to it."""

    def __init__(self) -> None:
        self.asked = 0
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(theirs.fileno()), *sys.path],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # one thread: each core has its own worker, and thread pools would take address space
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    def ask(self, message: bytes, *, deadline_s: float) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its answer; TimeoutError or _Died if none comes."""
        self.asked += 1
        self._channel.settimeout(deadline_s)
        try:
            self._channel.send(message)
            answer, descriptors, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES, 1)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if not answer:
            raise _Died(self._death())
        return json.loads(answer), descriptors

    def end(self) -> None:
        """Hang up, and kill it: it may be anywhere in a decoder."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def _death(self) -> str:
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "it hung up"
        if status == -signal.SIGKILL:
            return _OUT_OF_MEMORY
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


_idle: list[_Child] = []
_lock = threading.Lock()


@contextmanager
def _borrowed(*, fresh: bool) -> Iterator[_Child]:
    """A process for one request, a new one or not; whatever ends the request early ends the process."""
    with _lock:
        # what killed one that waited may have killed all of them
        child = _idle.pop() if _idle and not fresh else None
    child = child or _Child()
    try:
        yield child
    except BaseException:
        child.end()
        raise
    if child.asked >= _RECYCLE_AFTER:
        child.end()
        return
    with _lock:
        _idle.append(child)


def end_all() -> None:
    """End the processes that wait for work; the next request starts one."""
    with _lock:
        waiting = _idle.copy()
        _idle.clear()
    for child in waiting:
        child.end()


atexit.register(end_all)
os.register_at_fork(after_in_child=_idle.clear)  # they belong to the process that started them
