"""What the header of a JPEG declares, without decoding it. Source of the markers: ITU-T T.81, annex B."""

from dataclasses import dataclass

LONGEST_HEADER = 1 << 16
"""Bytes in which the frame header has to come."""
START, END = b"\xff\xd8", b"\xff\xd9"

_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive


@dataclass(frozen=True, kw_only=True)
class JpegHeader:
    """The frame header of a JPEG."""

    at: int
    """Byte where its marker begins, from the start of the file."""
    height: int
    """Pixels."""
    width: int
    components: int
    """1 is gray, 3 is colour."""
    sampling: int
    """Of the first component, horizontal in the upper four bits: 0x22 with two others of 0x11 is 4:2:0."""


def read_jpeg_header(content: bytes) -> JpegHeader | None:
    """The frame header of a JPEG of 8-bit samples; None where there is none.

    Args:
        content: the JPEG, or its first `LONGEST_HEADER` bytes.
    """
    if not content.startswith(START):
        return None
    at = 2
    while at + 12 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS:
            if content[at + 4] != 8:
                return None
            return JpegHeader(
                at=at,
                height=int.from_bytes(content[at + 5 : at + 7], "big"),
                width=int.from_bytes(content[at + 7 : at + 9], "big"),
                components=content[at + 9],
                sampling=content[at + 11],
            )
        if marker == START[1] or marker == END[1] or length < 2:
            return None
        at += 2 + length
    return None
