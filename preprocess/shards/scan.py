"""One pass over the bytes of a shard: its SHA-256, the CRC-32 of its clips, and which frames look whole.

The file is read in order, by plain reads: a disk that fails raises an error then, where a mapped file would end the
process. What is kept is a byte a frame, so a shard that declares millions of them costs no more than it takes on disk.
"""

import hashlib
import os
import zlib
from dataclasses import dataclass

import numpy as np

from preprocess.shards.jpeg import END, LONGEST_HEADER, START, read_jpeg_header
from preprocess.shards.layout import ClipTable

_PIECE = 4 << 20  # bytes that all take their part of while they are in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Where the frames of a stream lie, and what their JPEGs are to say."""

    name: str
    first: np.ndarray
    """int64 [clips]: number of each clip's first frame."""
    begin: np.ndarray
    """int64 [frames + 1]: byte of the file where each frame begins, and where the last one ends."""
    height: np.ndarray
    """int32 [clips]: of a JPEG, in pixels."""
    width: np.ndarray
    components: int

    @classmethod
    def of(cls, name: str, clips: ClipTable, offset: np.ndarray, *, data_at: int) -> "Stream":
        """`rgb` or `flow` of a shard, from its audited tables."""
        return cls(
            name=name,
            first=getattr(clips, f"{name}_first"),
            begin=offset + data_at,
            height=clips.height if name == "rgb" else 2 * clips.height,
            width=clips.width,
            components=3 if name == "rgb" else 1,
        )

    def clip_of(self, frame: int) -> int:
        """The clip that a frame belongs to, as a row of the table."""
        return int(np.searchsorted(self.first, frame, side="right")) - 1

    def fault(self, frame: int, descriptor: int) -> str | None:
        """What is wrong with a frame's JPEG, as a verb and its object; None if nothing can be seen."""
        begin, end = self.begin[frame : frame + 2].tolist()
        clip = self.clip_of(frame)
        header = read_jpeg_header(os.pread(descriptor, min(end - begin, LONGEST_HEADER), begin))
        if header is None or os.pread(descriptor, 2, end - 2) != END:
            return "is not a whole JPEG"
        found = (header.height, header.width)
        if found != (self.height[clip], self.width[clip]):
            expected = f"{self.height[clip]}x{self.width[clip]}"
            return f"is a JPEG of {found[0]}x{found[1]} pixels, not {expected}"
        if header.components != self.components:
            return f"has {header.components} colour components, not {self.components}"
        if self.components == 3 and header.sampling != 0x22:
            return f"has chroma sampling {header.sampling:#x}, not 0x22 (4:2:0)"
        return None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What the pass found."""

    sha256: str
    crc32: dict[str, np.ndarray]
    """By stream: uint32 [clips]."""
    suspect: dict[str, np.ndarray]
    """By stream: the numbers of the frames that must be looked at one by one, see `Stream.fault`."""


def scan(descriptor: int, streams: list[Stream]) -> Scan:
    """Read a shard file from its start to its end.

    Args:
        descriptor: of the open file.
        streams: of the shard.

    Raises:
        OSError: the disk fails.
    """
    digest = hashlib.sha256()
    sums = [_ClipSums(stream) for stream in streams]
    marks = [_Marks(stream, descriptor) for stream in streams]
    buffer = memoryview(bytearray(_PIECE))
    at = 0
    while count := os.preadv(descriptor, [buffer], at):
        piece = buffer[:count]
        digest.update(piece)
        for clip_sums, frame_marks in zip(sums, marks, strict=True):
            clip_sums.take(piece, at)
            frame_marks.take(piece, at)
        at += count
    return Scan(
        sha256=digest.hexdigest(),
        crc32={part.stream.name: part.values for part in sums},
        suspect={part.stream.name: np.flatnonzero(~part.good) for part in marks},
    )


class _ClipSums:
    """CRC-32 of each clip's bytes in a stream, taken piece by piece."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.values = np.zeros(len(stream.first), np.uint32)
        last = stream.begin[-1:]
        self._bounds = np.concatenate([stream.begin[stream.first], last]) if len(stream.first) else last

    def take(self, piece: memoryview, at: int) -> None:
        bounds, end = self._bounds, at + len(piece)
        for clip in range(*_overlap(bounds, at, end)):
            low, high = max(int(bounds[clip]), at), min(int(bounds[clip + 1]), end)
            self.values[clip] = zlib.crc32(piece[low - at : high - at], int(self.values[clip]))


class _Marks:
    """Which frames begin and end as a JPEG, with the frame header of their clip where the first frame has its own.

    An encoder writes the same header for all frames, so what it says stands at the same place in each. Frames that are
    not seen whole in one piece are left for a look of their own, as are those of an encoder that does not.
    """

    def __init__(self, stream: Stream, descriptor: int) -> None:
        self.stream = stream
        self.good = np.zeros(len(stream.begin) - 1, bool)
        self._shortest = 0
        self._places = np.zeros(0, np.int64)
        self._values = np.zeros((len(stream.first), 0), np.uint8)
        if len(self.good):
            size = int(stream.begin[1] - stream.begin[0])
            header = read_jpeg_header(os.pread(descriptor, min(size, LONGEST_HEADER), int(stream.begin[0])))
            if header is not None:
                self._expect(header.frame_at)

    def take(self, piece: memoryview, at: int) -> None:
        begin = self.stream.begin
        low = int(np.searchsorted(begin, at))
        high = int(np.searchsorted(begin, at + len(piece), side="right")) - 1
        if low >= high or not self._shortest:
            return
        bytes_N, starts, ends = np.frombuffer(piece, np.uint8), begin[low:high] - at, begin[low + 1 : high + 1] - at
        # of a frame that is too short the bytes are another's, and do not count
        found = bytes_N.take(starts[:, None] + self._places, mode="clip")
        clips = np.searchsorted(self.stream.first, np.arange(low, high), side="right") - 1
        good = (found == self._values[clips]).all(axis=1)
        good &= (bytes_N[ends - 2] == END[0]) & (bytes_N[ends - 1] == END[1]) & (ends - starts >= self._shortest)
        self.good[low:high] = good

    def _expect(self, at: int) -> None:
        """What each frame must have, its frame header being at byte `at`."""
        stream, clips = self.stream, len(self.stream.first)
        expected: dict[int, int | np.ndarray] = {0: START[0], 1: START[1], at: 0xFF, at + 1: 0xC0, at + 4: 8}
        for place, side in ((at + 5, stream.height), (at + 7, stream.width)):
            expected |= {place: side >> 8 & 0xFF, place + 1: side & 0xFF}
        expected[at + 9] = stream.components
        if stream.components == 3:
            expected[at + 11] = 0x22
        self._places = np.array(list(expected))
        self._values = np.stack([np.broadcast_to(value, clips) for value in expected.values()], axis=1).astype(np.uint8)
        self._shortest = at + 14


def _overlap(bounds: np.ndarray, low: int, high: int) -> tuple[int, int]:
    """Which of the intervals between rising bounds meet [low, high): the first, and one past the last."""
    first = int(np.searchsorted(bounds, low, side="right")) - 1
    last = int(np.searchsorted(bounds, high, side="left"))
    return max(first, 0), min(last, len(bounds) - 1)
