"""The one place that opens untrusted video: inspect it, resample it by time.

Rules that everything downstream relies on, for RGB and flow alike:

- Only containers of `CONTAINERS` are opened. A playlist or concat script named `.mp4` can make a demuxer read other
  files, so the container is checked. The demuxer gets an open file and may open none by name, nor any address.
- Bytes, streams, pixels, seconds and frames are limited, before decoding by what is declared, and while decoding by
  what comes. How long decoding may take is for the caller to limit: `preprocess.media_process` does.
- Frames are counted by decoding; header counts and exit codes are not believed. A decoding error is `BadMedia`.
- What lies in the bytes of a file is its fault, `BadMedia`; that the bytes cannot be had is not, `UnreadableFile`.
- Frames are upright: rotation metadata is applied, in steps of 90 degrees, and mirrored frames are mirrored back.
- Pixels are taken as stored: non-square sample aspect ratios are ignored, as OpenCV, decord and the published I3D
  preprocessing do.
- Time 0 is the presentation time of the stream's first frame.

Shapes: T = frames, H, W = pixels, 3 = R, G, B.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from preprocess.errors import BadMedia, Cause
from preprocess.regular_file import regular_file, sha256_of
from preprocess.stillness import Stillness, Stretch, seconds_of

CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf"
"""Demuxers that may open a file, by FFmpeg's short names; `mov` is mp4 too, `matroska` is WebM too."""
MAX_PIXELS = 4096 * 2304
"""Of a frame; a few kilobytes can declare far more."""
MIN_SIDE = 16
"""Pixels; less holds no motion to speak of."""
MAX_ASPECT = 16
"""Longer by shorter side; made as wide as its height asks for, a line of pixels would fill the memory."""
MAX_STREAMS = 64
"""Of a file: pictures, sound, subtitles in many languages."""
MAX_HOURS = 24
"""Of a video, twice the longest that YouTube takes."""
MAX_FRAMES = MAX_HOURS * 3600 * 60
"""Decoded of a file at a time, shown or not."""
MAX_CLIP_BYTES = 16 << 30
"""Of the frames of a clip in memory."""

_PLANAR = frozenset(f"yuv{j}{samples}p" for j in ("", "j") for samples in ("420", "422", "444"))
"""Pixel formats whose planes can be looked at as they are."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What decoding a whole file showed."""

    width: int
    """Pixels, upright."""
    height: int
    frame_count: int
    """Frames decoded."""
    duration_s: float
    """Seconds from the first frame's presentation to the end of the last one's."""
    fps: float
    """Mean frames a second."""
    frozen: tuple[Stretch, ...]
    """Where the picture stands still, black or not; see `preprocess.stillness`."""
    black: tuple[Stretch, ...]
    """Where it is black."""

    @property
    def measures(self) -> dict[str, float]:
        """As a manifest names and rounds them."""
        return {
            "duration_s": round(self.duration_s, 6),
            "frame_count": self.frame_count,
            "fps": round(self.fps, 6),
            "width": self.width,
            "height": self.height,
            "frozen_s": round(seconds_of(self.frozen), 3),
            "black_s": round(seconds_of(self.black), 3),
        }


@dataclass(frozen=True, kw_only=True)
class Video:
    """An open file and the video stream that counts."""

    path: Path
    container: InputContainer
    stream: VideoStream
    time_base: Fraction
    """Seconds a tick."""
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    def frames(self, *, from_s: float = 0.0, absolute: bool = False) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Frames in presentation order, each with its time in seconds.

        Times are fractions: as floats, every other frame of a 25 fps video would miss its place on a 25 fps grid.

        Args:
            from_s: begin at a key frame at or before this time, where the container can seek.
            absolute: times count from time stamp 0, not from the first frame.

        Raises:
            BadMedia: damaged, or the picture changes its size.
        """
        if from_s > 0 and self._seeks:
            origin = 0 if absolute else self.stream.start_time or 0
            self.container.seek(origin + math.floor(from_s / self.time_base), stream=self.stream)
            frames = self._ticked()
            first = next(frames, None)
            if first is not None and (absolute or (first[0] - origin) * self.time_base <= from_s):
                yield from (((tick - origin) * self.time_base, frame) for tick, frame in chain([first], frames))
                return
            # the index is wrong or missing, and the seek went past the place: count from the start, in a fresh
            # demuxer, since seeking back may miss the start as well
            with open_video(self.path) as again:
                yield from again.frames(absolute=absolute)
            return
        yield from ((tick * self.time_base, frame) for tick, frame in self.ticks(absolute=absolute))

    def ticks(self, *, absolute: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
        """All frames in presentation order, each with its time in ticks of the time base, otherwise as `frames`."""
        start: int | None = 0 if absolute else None
        limit = math.floor(MAX_HOURS * 3600 / self.time_base)
        for tick, frame in self._ticked():
            start = tick if start is None else start
            if tick - start > limit:
                hour = float((tick - start) * self.time_base) / 3600
                raise BadMedia(f"{self.path.name}: a frame at hour {hour:.0f}, of {MAX_HOURS} at most")
            yield tick - start, frame

    def seconds(self, frame: av.VideoFrame) -> Fraction:
        """How long a frame is shown: its own duration, or else one frame of the stream's mean rate."""
        if frame.duration:
            return frame.duration * self.time_base
        return 1 / (self.stream.average_rate or Fraction(25))

    def converted(self, frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
        """A frame of this video in another pixel format; its range of colours stays, that of RGB becomes limited.

        Raises:
            BadMedia: nothing is known to convert its own format.
        """
        try:
            # a frame left to itself starts a thread a core, which live as long as it does: those of one clip would fill
            # the address space that a decoder may take
            return self._reformatter.reformat(frame, format=pixel_format, threads=1)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise BadMedia(f"pixels of format {frame.format.name} cannot be converted ({error})") from error

    @property
    def _seeks(self) -> bool:
        return not self._is_avi and self.stream.start_time is not None

    @property
    def _is_avi(self) -> bool:
        return self.container.format.name == "avi"

    def _ticked(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their time stamps, strictly rising."""
        count, previous, size = 0, None, None
        try:
            for number, frame in enumerate(self.container.decode(self.stream)):
                if number == MAX_FRAMES:
                    raise BadMedia(f"{self.path.name}: more than {MAX_FRAMES} frames")
                # AVI has no presentation times. Its frames still come out in presentation order, one a tick of the
                # decoding clock, of which the last ones are missing.
                tick = frame.dts if self._is_avi else frame.pts
                if tick is None:
                    tick = 0 if previous is None else previous + max(round(self.seconds(frame) / self.time_base), 1)
                if previous is not None and tick <= previous:
                    continue  # a repeated time stamp shows nothing new
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    raise BadMedia(
                        f"{self.path.name}: the picture changes from {size} to {frame.width, frame.height} px"
                    )
                count, previous = count + 1, tick
                yield tick, frame
        except av.FFmpegError as error:
            sha256_of(self.path)  # where the disk fails, that says so
            raise BadMedia(f"{self.path.name}: damaged after {count} frames ({error.strerror})") from error


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a file for decoding on one thread.

    Raises:
        BadMedia: not a regular file, not an allowed container, no video stream, or a picture too large or too small.
        UnreadableFile: the file is gone, or this user or this disk cannot read it.
    """
    with regular_file(path) as descriptor:
        options = {
            "format_whitelist": CONTAINERS,
            # no name is opened, the file's own included: an id like "-a:b" is no option and no protocol
            "protocol_whitelist": "fd",
            "fd": str(descriptor),
            "max_streams": str(MAX_STREAMS + 1),  # more are passed over, and not counted
        }
        try:
            # metadata may be any bytes, HMDB-51's is not UTF-8
            container = av.open("fd:", options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            sha256_of(path)  # where the disk fails, that says so
            raise BadMedia(f"{path.name}: not a video file in an allowed container ({CONTAINERS})") from error
    with container:
        if len(container.streams) > MAX_STREAMS:
            raise BadMedia(f"{path.name}: more than {MAX_STREAMS} streams")
        pictures = av.stream.Disposition.attached_pic
        stream = next((s for s in container.streams.video if not s.disposition & pictures), None)
        if stream is None or stream.time_base is None:
            raise BadMedia(f"{path.name}: no video stream")
        if stream.codec_context is None:
            raise BadMedia(f"{path.name}: its video stream has no codec that is known here")
        size = f"{stream.width}x{stream.height} pixels a frame"
        if stream.width * stream.height > MAX_PIXELS:
            raise BadMedia(f"{path.name}: {size}, at most {MAX_PIXELS} are accepted")
        if min(stream.width, stream.height) < MIN_SIDE:
            raise BadMedia(f"{path.name}: {size}, at least {MIN_SIDE} a side are needed")
        if max(stream.width, stream.height) > MAX_ASPECT * min(stream.width, stream.height):
            raise BadMedia(f"{path.name}: {size}, a side of more than {MAX_ASPECT} times the other")
        if (container.duration or 0) > MAX_HOURS * 3600 * av.time_base:
            hours = (container.duration or 0) / av.time_base / 3600
            raise BadMedia(f"{path.name}: {hours:.0f} hours long, at most {MAX_HOURS} are accepted")
        # a picture may grow later on, and is refused then before there is memory for it
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_count = 1  # callers run one process a core
        yield Video(path=path, container=container, stream=stream, time_base=stream.time_base)


def inspect(path: Path) -> VideoInfo:
    """Decode a whole file once and say what is in it.

    Raises:
        BadMedia: not an allowed container, no video stream, damaged anywhere, or fewer than two frames.
    """
    count, shown = 0, None
    with open_video(path) as video:
        stillness = Stillness(video.time_base)
        for tick, frame in video.ticks():
            count, shown = count + 1, (tick, frame)
            _look_at(video, frame, tick, stillness)
        if shown is None or count < 2:
            raise BadMedia(
                f"{path.name}: {count} frames decoded, at least 2 are needed",
                cause=Cause.DAMAGED if shown is None else Cause.TOO_SHORT,
            )
        last_tick, last = shown
        end_s = last_tick * video.time_base + video.seconds(last)
        stillness.close(end_s / video.time_base)
    _, turns = orientation(last)
    height, width = (last.width, last.height) if turns % 2 else (last.height, last.width)
    return VideoInfo(
        width=width,
        height=height,
        frame_count=count,
        duration_s=float(end_s),
        fps=float(count / end_s),
        frozen=tuple(stillness.frozen),
        black=tuple(stillness.black),
    )


def probe(path: Path) -> tuple[float, int, int]:
    """(seconds, height, width) as the file's header declares them: a guess for planning, never a fact to rely on.

    Raises:
        BadMedia: not an allowed container, or no video stream.
    """
    with open_video(path) as video:
        ticks = video.container.duration  # microseconds, or None
        return (ticks or 0) / av.time_base, video.stream.height, video.stream.width


def read_clip(
    path: Path, *, fps: Fraction = Fraction(25), short_side: int = 256, max_frames: int | None = None
) -> np.ndarray:
    """Frames of a clip on an even time grid, resized.

    Args:
        path: a video file.
        fps: of the result. Frame k is the last one with presentation time <= k / fps.
        short_side: pixels of the shorter side of the result; aspect kept, bilinear.
        max_frames: stop after so many.

    Returns:
        uint8 [T, H, W, 3]. T covers the time until the last frame's presentation ends.

    Raises:
        BadMedia: not an allowed container, no video stream, damaged before the last frame asked for, or one frame only.
    """
    frames = list(islice(clip_frames(path, fps=fps, short_side=short_side), max_frames))
    if len(frames) < 2:
        raise BadMedia(f"{path.name}: {len(frames)} frames at {fps} fps, at least 2 are needed")
    return np.stack(frames)


def clip_frames(path: Path, *, fps: Fraction, short_side: int) -> Iterator[np.ndarray]:
    """The frames of `read_clip` one by one, each uint8 [H, W, 3].

    Raises:
        BadMedia: as there, when the frame that it costs is asked for; or the frames together are too many bytes.
    """
    nbytes = 0
    for frame_HW3 in _resampled(path, fps=fps, short_side=short_side):
        nbytes += frame_HW3.nbytes
        if nbytes > MAX_CLIP_BYTES:
            raise BadMedia(f"{path.name}: its frames take more than {MAX_CLIP_BYTES} bytes; trim it first")
        yield frame_HW3


def to_gray(frames_THW3: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601, full range) of RGB frames: what flow is computed on. uint8 [T, H, W]."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames_THW3])


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter side `short_side` pixels long and the aspect kept, rounded to the nearest.

    Example:
        >>> resized_size(360, 640, 256)
        (256, 455)
    """
    scale = short_side / min(height, width)
    return max(round(height * scale), short_side), max(round(width * scale), short_side)


def _resampled(path: Path, *, fps: Fraction, short_side: int) -> Iterator[np.ndarray]:
    # The frame shown at k / fps is known only when the next one, or the end, is seen. Converted when first shown:
    # of 60 fps material more than half the frames never are.
    waiting: av.VideoFrame | None = None
    shown: np.ndarray | None = None
    upright = (False, 0)
    index, end_s = 0, Fraction()
    with open_video(path) as video:
        for time_s, frame in video.frames():
            if waiting is None:
                # of the first one only: a frame that was asked refers to itself, and stays until Python looks for that
                upright = orientation(frame)
            while waiting is not None and index / fps < time_s:
                shown = _resize(_upright_rgb(video, waiting, upright), short_side) if shown is None else shown
                yield shown
                index += 1
            waiting, shown = frame, None
            end_s = time_s + video.seconds(frame)
        while waiting is not None and index / fps < end_s:
            shown = _resize(_upright_rgb(video, waiting, upright), short_side) if shown is None else shown
            yield shown
            index += 1


def _resize(frame_HW3: np.ndarray, short_side: int) -> np.ndarray:
    height, width = resized_size(frame_HW3.shape[0], frame_HW3.shape[1], short_side)
    if frame_HW3.shape[:2] == (height, width):
        return frame_HW3
    return cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_LINEAR)


def _look_at(video: Video, frame: av.VideoFrame, tick: int, stillness: Stillness) -> None:
    if frame.format.name not in _PLANAR:
        frame = video.converted(frame, "yuv420p")
    planes = [  # views; rows are padded
        np.ndarray((plane.height, plane.width), np.uint8, memoryview(plane), strides=(abs(plane.line_size), 1))
        for plane in frame.planes
    ]
    stillness.add(tick, planes, full_range=frame.color_range == ColorRange.JPEG)


def _upright_rgb(video: Video, frame: av.VideoFrame, upright: tuple[bool, int]) -> np.ndarray:
    rgb_HW3 = video.converted(frame, "rgb24").to_ndarray()
    is_mirrored, turns = upright
    return np.ascontiguousarray(np.rot90(rgb_HW3[:, ::-1] if is_mirrored else rgb_HW3, turns))


def orientation(frame: av.VideoFrame) -> tuple[bool, int]:
    """What makes a frame upright: whether to mirror it left to right, then counter-clockwise quarter turns, 0 to 3.

    Source: the display matrix of ISO/IEC 14496-12, 6.2.2, by which (x, y) is shown at (a x + c y, b x + d y).
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 0
    a, b, _, c, d, *_ = (int(number) for number in np.frombuffer(matrix, np.int32))
    is_mirrored = a * d < b * c
    if is_mirrored:
        a, b = -a, -b
    return is_mirrored, round(-math.atan2(b, a) / (math.pi / 2)) % 4
