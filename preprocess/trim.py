"""Cut the wanted seconds out of a video, exact to the frame, by encoding them anew."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.filter
from av.container import OutputContainer
from av.video.stream import VideoStream

from preprocess.errors import BadMedia, Cause, InvalidInput
from preprocess.media import Video, open_video, orientation

TIME_BASE = Fraction(1, 90_000)
"""Seconds a tick of the clip's time stamps: fine enough for every frame rate in use."""

# One thread and no macroblock tree: same bytes on every run. No B-frames: mp4 stores durations in decoding order, so
# with them the end of the last frame, and with it the clip's length, could not be exact.
_ENCODER = {"crf": "18", "preset": "fast", "threads": "1", "mbtree": "0", "bf": "0"}
_COLOUR_TAGS = ("color_range", "colorspace", "color_primaries", "color_trc")
"""How luma and chroma are to be read as colours; without them BT.709 and full range would be shown as BT.601."""


def trim(source: Path, target: Path, *, start_s: float, end_s: float, absolute: bool = False) -> None:
    """Re-encode the wanted seconds of a video as H.264 mp4 without sound.

    The frame shown at `start_s` comes first, at time 0; frames keep their own timing; nothing from `end_s` on is kept.

    Args:
        source: any video that `preprocess.media` opens.
        target: the mp4 to write, not published atomically: give a temporary name.
        start_s: seconds since the video's first frame.
        end_s: seconds; beyond the video's end keeps what there is.
        absolute: the file is a section, and its time stamps count from the whole video's start.

    Raises:
        BadMedia: damaged within the wanted seconds, or nothing to show there.
        InvalidInput: the end is not after the start.
    """
    if not 0 <= start_s < end_s:
        raise InvalidInput(
            f"cannot trim from {start_s} s to {end_s} s: the start must be at least 0 and before the end"
        )
    with open_video(source) as video, av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as output:
        writer = _ClipWriter(output, video)
        goes_on = False  # the video has a frame after the wanted seconds, so what is shown lasts until their end
        shown: tuple[Fraction, av.VideoFrame] | None = None  # the latest frame that begins before start_s
        for time_s, frame in video.frames(from_s=start_s, absolute=absolute):
            if time_s >= end_s:
                goes_on = True
                break
            if time_s < start_s:
                shown = time_s, frame
                continue
            if shown is not None and time_s > start_s:
                writer.write(Fraction(), shown[1])
            elif absolute and writer.count == 0 and time_s > start_s + 2 * video.seconds(frame):
                raise BadMedia(
                    f"{source.name}: a section that begins at second {float(time_s):.2f}, after second {start_s}"
                )
            shown = None
            writer.write(time_s - Fraction(start_s), frame)
        if shown is not None and (goes_on or shown[0] + video.seconds(shown[1]) > start_s):
            writer.write(Fraction(), shown[1])
        if writer.count == 0:
            raise BadMedia(
                f"{source.name}: nothing is shown between seconds {start_s} and {end_s}",
                cause=Cause.TOO_SHORT if shown is not None else Cause.DAMAGED,
            )
        writer.close(Fraction(end_s) - Fraction(start_s), goes_on=goes_on)


class _ClipWriter:
    """H.264 into an open mp4: upright, even-sized, 8-bit 4:2:0."""

    def __init__(self, output: OutputContainer, source: Video) -> None:
        self.count = 0
        self._output = output
        self._source = source
        self._stream: VideoStream | None = None
        self._graph: av.filter.Graph | None = None
        self._last_pts = -1
        self._last_s = Fraction()

    def write(self, time_s: Fraction, frame: av.VideoFrame) -> None:
        """Encode one frame for presentation at `time_s`."""
        if self._graph is None:
            self._graph = _upright_even_420(frame, self._source.time_base)
        self._graph.push(frame)
        upright = self._graph.pull()
        assert isinstance(upright, av.VideoFrame)
        if self._stream is None:
            rate = self._source.stream.average_rate or 25
            self._stream = self._output.add_stream("libx264", rate=rate, options=_ENCODER)
            self._stream.width, self._stream.height = upright.width, upright.height
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = TIME_BASE
            for tag in _COLOUR_TAGS:
                setattr(self._stream.codec_context, tag, getattr(upright, tag))
        upright.pts = max(round(time_s / TIME_BASE), self._last_pts + 1)
        upright.time_base = TIME_BASE
        upright.pict_type = 0  # the source's key frames are not ours
        self._last_pts, self._last_s = upright.pts, self._source.seconds(frame)
        self._output.mux(self._stream.encode(upright))
        self.count += 1

    def close(self, wanted_s: Fraction, *, goes_on: bool) -> None:
        """Flush the encoder; the last frame is shown until `wanted_s`, or for its own time if nothing follows it."""
        assert self._stream is not None
        room_s = wanted_s - self._last_pts * TIME_BASE
        last_s = room_s if goes_on else min(self._last_s, room_s)
        for packet in self._stream.encode(None):
            if packet.pts == self._last_pts:
                packet.duration = max(round(last_s / TIME_BASE), 1)
            self._output.mux(packet)


def _upright_even_420(frame: av.VideoFrame, time_base: Fraction) -> av.filter.Graph:
    is_mirrored, turns = orientation(frame)
    mirror = ("hflip",) if is_mirrored else ()
    turn = {0: (), 1: ("transpose=cclock",), 2: ("hflip", "vflip"), 3: ("transpose=clock",)}[turns]
    graph = av.filter.Graph()
    graph.threads = 1  # as the decoder and the encoder
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)]
    for step in (*mirror, *turn, "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0", "setsar=1", "format=yuv420p"):
        name, _, arguments = step.partition("=")
        nodes.append(graph.add(name, arguments))
    nodes.append(graph.add("buffersink"))
    for left, right in pairwise(nodes):
        left.link_to(right)
    graph.configure()
    return graph
