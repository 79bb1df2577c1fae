"""The process in which untrusted videos are decoded: takes requests from `preprocess.media_process`, one at a time.

A decoder that crashes, hangs or fills the memory on a hostile file takes this process with it and no other. Answers are
JSON and a file in memory, never pickles: what comes out of here is not trusted either.
"""

import json
import os
import resource
import select
import signal
import socket
import threading
import traceback
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from preprocess.errors import BadMedia, UnreadableFile
from preprocess.media import MAX_CLIP_BYTES, clip_frames, inspect, probe

MEMORY_BYTES = 8 << 30
"""Address space that this process may take; frames that it hands over are not in it."""
MESSAGE_BYTES = 1 << 17
"""Of a request or an answer; what a socket takes at once."""


def main(descriptor: int) -> None:
    """Answer requests until the other side hangs up, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this; it hangs up then
    cv2.setNumThreads(1)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, MAX_CLIP_BYTES)
    with socket.socket(fileno=descriptor) as channel:
        threading.Thread(target=_end_with, args=(channel.fileno(),), daemon=True).start()
        while request := channel.recv(MESSAGE_BYTES):
            _answer(channel, json.loads(request))


def _limit(what: int, most: int) -> None:
    """At most so much; less where this machine's limits for its users are lower, and cannot be raised."""
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (least, least))


def _end_with(descriptor: int) -> None:
    """End this process when the other one ends, also in the middle of a decode."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLRDHUP)
    waiting.poll()
    os._exit(1)


def _answer(channel: socket.socket, request: dict[str, Any]) -> None:
    descriptors: list[int] = []
    path = Path(request["path"])
    try:
        if request["call"] == "probe":
            answer: dict[str, Any] = {"probe": probe(path)}
        elif request["call"] == "inspect":
            answer = {"inspect": asdict(inspect(path))}
        else:
            descriptors.append(os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            answer = {"shape": _write_frames(descriptors[0], path, request)}
    except (BadMedia, UnreadableFile, MemoryError, OSError) as error:
        answer = _failure(error, path)
    except Exception:  # noqa: BLE001 a mistake of ours: raised again on the other side
        answer = {"mistake": traceback.format_exc()[-MESSAGE_BYTES // 8 :]}
    message = json.dumps(answer, default=str).encode()  # fractions as texts
    if len(message) > MESSAGE_BYTES:
        message = json.dumps({"bad_media": f"{path.name}: too many still pictures", "cause": "damaged"}).encode()
    socket.send_fds(channel, [message], descriptors if "shape" in answer else [])
    for descriptor in descriptors:  # also with the frames up to a damage: they stay in memory for as long
        os.close(descriptor)


def _failure(error: Exception, path: Path) -> dict[str, str]:
    """The answer when something other than this code is at fault: the file, or the machine."""
    if (
        # where a decoder lacks memory, that is behind what it says
        isinstance(error if isinstance(error, MemoryError) else error.__cause__, MemoryError)
        and resource.getrlimit(resource.RLIMIT_AS)[0] < MEMORY_BYTES
    ):
        return {"environment": f"{path} needs more memory than a decoder gets here (see ulimit -v)"}
    if isinstance(error, BadMedia):
        return {"bad_media": str(error), "cause": error.cause.value}
    if isinstance(error, UnreadableFile):
        return {"unreadable": str(error)}
    if isinstance(error, OSError):
        # the only file it writes is in memory, and ends before our own limit
        return {"environment": f"the frames of {path} cannot be kept in memory ({error.strerror}; see ulimit -f)"}
    return {"bad_media": f"{path.name}: needs more memory than a decoder may have", "cause": "damaged"}


def _write_frames(descriptor: int, path: Path, request: dict[str, Any]) -> tuple[int, int, int]:
    """The frames of a clip one after the other into a file; returns (frames, height, width)."""
    count, height, width = 0, 0, 0
    with open(descriptor, "wb", buffering=0, closefd=False) as file:
        for frame_HW3 in clip_frames(path, fps=Fraction(request["fps"]), short_side=request["short_side"]):
            count, (height, width) = count + 1, frame_HW3.shape[:2]
            left = frame_HW3.data.cast("B")
            while left:
                left = left[file.write(left) :]
            if count == request["max_frames"]:
                break
    return count, height, width
