"""Videos made on the spot, and a local server that seeks like a video site."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tests.local_server import QuietHandler, running

if TYPE_CHECKING:
    from preprocess.clips import ClipFile

# PyAV, which preprocess.clips needs too, is imported where it is used: GPU tests run on machines without it.


def textured_frames(count: int, *, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth random gray picture that moves 1 px a frame to the right. uint8 [T, H, W, 3]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 6, (width + count) // 6)).astype(np.float32)
    picture = cv2.resize(noise, (width + count, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    frames_THW = np.stack([picture[:, count - t : count - t + width] for t in range(count)])
    return np.repeat(frames_THW[..., None], 3, axis=-1)


def numbered_frames(count: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames that show their number, up to 255, as eight black or white stripes. uint8 [T, H, W, 3]."""
    bits_TB = np.arange(count)[:, None] >> np.arange(8) & 1
    stripes_TW = np.repeat(bits_TB * 255, width // 8, axis=1).astype(np.uint8)
    return np.broadcast_to(stripes_TW[:, None, :, None], (count, height, width, 3)).copy()


def frame_numbers(frames_THW3: np.ndarray) -> list[int]:
    """The numbers that `numbered_frames` painted."""
    stripes_TB = frames_THW3.mean(axis=(1, 3)).reshape(len(frames_THW3), 8, -1).mean(axis=2)
    return [int(number) for number in (stripes_TB > 127) @ (1 << np.arange(8))]


def write_video(
    path: Path,
    frames_THW3: np.ndarray,
    *,
    fps: Fraction = Fraction(25),
    times_s: Sequence[float] | None = None,
    container: str = "mp4",
    codec: str = "libx264",
    gop: int = 12,
    rotation: int = 0,
    mirrored: bool = False,
    audio: bool = False,
) -> Path:
    """Encode frames at even or given times, to be shown turned counter-clockwise, and then mirrored left to right."""
    import av

    with av.open(path, "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps, options={"crf": "10"} if codec == "libx264" else {})
        stream.height, stream.width = frames_THW3.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 12800) if times_s else 1 / fps
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        sound = output.add_stream("aac", rate=44100) if audio else None
        for index, image in enumerate(frames_THW3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(times_s[index] * 12800) if times_s else index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            silence.sample_rate, silence.pts = 44100, 0
            output.mux(sound.encode(silence))
            output.mux(sound.encode(None))
    return path


def clip_file(
    path: Path, *, folder: Path, label: str | None = "yoga", split: str = "train", **fields: object
) -> "ClipFile":
    """A finished clip as `find_clips` would give it."""
    from preprocess.clips import ClipFile

    values: dict[str, object] = {"time_start": 0.0, "time_end": 1.0, "duration_s": 1.0, "height": 48, "width": 64}
    values |= {"key": path.stem, "path": str(path.relative_to(folder)), "fingerprint": "x", **fields}
    return ClipFile(label=label, split=split, **values)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class Fault:
    """How the server answers for one file instead of sending it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of the file."""
    cut: int | None = None
    """Hang up after so many bytes of those that were promised."""
    drip_s: float | None = None
    """Seconds between two bytes."""
    silent: bool = False
    """Take the request and never answer."""
    times: int | None = None
    """Only for so many requests; None is always."""
    ranges: bool = True
    """Whether byte ranges are served, where the server does so."""


@dataclass
class VideoServer:
    """Serves a folder on 127.0.0.1 with byte ranges; `faults` maps a file name to a fault, or to a status."""

    folder: Path
    url: str = ""
    ranges: bool = True
    faults: dict[str, Fault | int] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range header of each."""
    times: list[float] = field(default_factory=list)
    """Of each request, in seconds of the monotonic clock."""
    cookies: set[str] = field(default_factory=set)
    """Every Cookie header seen."""

    @property
    def template(self) -> str:
        """For `--url-template`."""
        return self.url + "/{youtube_id}.mp4"

    def fault_of(self, name: str) -> Fault | None:
        """What goes wrong with this request, if anything; counts it."""
        fault = self.faults.get(name)
        if isinstance(fault, int):
            return Fault(status=fault)
        if fault is not None and fault.times is not None:
            if fault.times == 0:
                return None
            fault.times -= 1
        return fault


def _handler(server: VideoServer) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def do_HEAD(self) -> None:  # noqa: N802 as http.server calls it
            self._answer(body=False)

        def do_GET(self) -> None:  # noqa: N802 as http.server calls it
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            server.requests.append((self.command, self.name, self.headers.get("Range")))
            server.cookies.add(self.headers.get("Cookie", ""))
            server.times.append(time.monotonic())
            path = server.folder / self.name
            fault = server.fault_of(self.name)
            with suppress(BrokenPipeError, ConnectionResetError):  # ffmpeg hangs up when it has enough
                if fault is not None and fault.silent:
                    self.server.closing.wait()
                elif fault is not None and fault.status != 200:
                    self.send_head(fault.status, {"Content-Length": "0", **fault.headers})
                elif fault is not None and fault.body is not None:
                    self._send(fault.body, Fault(), body=body)
                elif path.is_file():
                    self._send(path.read_bytes(), fault or Fault(), body=body)
                else:
                    self.send_error(404)

        def _send(self, content: bytes, fault: Fault, *, body: bool) -> None:
            first, last, status = 0, len(content) - 1, 200
            wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            ranges = server.ranges and fault.ranges
            if wanted and ranges:
                first, last, status = int(wanted[1]), min(int(wanted[2] or last), last), 206
            headers = {"Content-Type": "text/html" if content.startswith(b"<html") else "video/mp4"}
            headers |= {"Content-Length": str(last + 1 - first)}
            headers |= {"Accept-Ranges": "bytes"} if ranges else {}
            headers |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"} if status == 206 else {}
            self.send_head(status, {**headers, **fault.headers})
            if body:
                self.send_body(content[first : last + 1][: fault.cut], drip_s=fault.drip_s)

    return Handler


@contextmanager
def serving(server: VideoServer) -> Iterator[VideoServer]:
    """Runs a server on 127.0.0.1 until the block ends."""
    with running(_handler(server)) as server.url:
        yield server


@pytest.fixture
def video_server(tmp_path: Path) -> Iterator[VideoServer]:
    """A server on an empty folder of its own."""
    (tmp_path / "site").mkdir()
    with serving(VideoServer(tmp_path / "site")) as server:
        yield server


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Kinetics list of (label, id, start, end, split) rows."""

    def write(*rows: tuple[object, ...]) -> Path:
        path = tmp_path / "list.csv"
        lines = ["label,youtube_id,time_start,time_end,split", *(",".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
