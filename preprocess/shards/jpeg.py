"""What the header of a JPEG declares, without decoding it. Source of the markers: ITU-T T.81, annex B."""

from dataclasses import dataclass

LONGEST_HEADER = 1 << 16
"""Bytes in which the compressed picture has to begin."""
START, END = b"\xff\xd8", b"\xff\xd9"

_APP0, _COMMENT = 0xE0, 0xFE
_QUANTISATION, _HUFFMAN, _RESTART = 0xDB, 0xC4, 0xDD
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Baseline, extended sequential, progressive."""
_SCAN = 0xDA
_ALLOWED = {_APP0, _COMMENT, _QUANTISATION, _HUFFMAN, _RESTART, _SCAN} | _FRAMES
"""No Exif: it can turn the picture, and decoders parse it each in their own way."""


@dataclass(frozen=True, kw_only=True)
class JpegHeader:
    """All of a JPEG before its compressed picture."""

    frame_at: int
    """Byte where the marker of the frame header begins, from the start of the file."""
    height: int
    """Pixels."""
    width: int
    components: int
    """1 is gray, 3 is colour."""
    sampling: int
    """Of the first component, horizontal in the upper four bits: 0x22 with two others of 0x11 is 4:2:0."""
    end: int
    """Byte where the compressed picture begins."""


def read_jpeg_header(content: bytes) -> JpegHeader | None:
    """The header of a JPEG with one frame of 8-bit samples; None where there is none.

    Args:
        content: the JPEG, or its first `LONGEST_HEADER` bytes.
    """
    if not content.startswith(START):
        return None
    at, frame_at = len(START), 0
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        end = at + 2 + length
        if marker not in _ALLOWED or length < 2 or end > len(content):
            return None
        if marker in _FRAMES:
            # 11: with one component
            if frame_at or length < 11 or content[at + 4] != 8:
                return None
            frame_at = at
        if marker == _SCAN:
            return _header(content, frame_at, end) if frame_at else None
        at = end
    return None


def _header(content: bytes, frame_at: int, end: int) -> JpegHeader:
    return JpegHeader(
        frame_at=frame_at,
        height=int.from_bytes(content[frame_at + 5 : frame_at + 7]),
        width=int.from_bytes(content[frame_at + 7 : frame_at + 9]),
        components=content[frame_at + 9],
        sampling=content[frame_at + 11],
        end=end,
    )
