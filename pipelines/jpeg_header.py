"""Whether a JPEG begins and ends as one of its clip must, before it is handed to DALI.

DALI 2.4 crashes the process now and then when the header of one JPEG of a batch is damaged: the thread that finds out
throws, and frees what the others still read. So a header is known to be good before DALI sees it: it is byte for byte
one that OpenCV has decoded. An encoder writes the same one for all frames of a size, so this costs a comparison of 600
bytes a frame. Damage behind the header stops neither decoder; only a checksum tells it.
"""

import cv2
import numpy as np

_START, _END = b"\xff\xd8", b"\xff\xd9"
_APP0, _COMMENT = 0xE0, 0xFE
_QUANTISATION, _HUFFMAN, _RESTART = 0xDB, 0xC4, 0xDD
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Baseline, extended sequential, progressive."""
_SCAN = 0xDA
_ALLOWED = {_APP0, _COMMENT, _QUANTISATION, _HUFFMAN, _RESTART, _SCAN} | _FRAMES
"""No Exif: it can turn the picture, and decoders parse it each in their own way."""
_LONGEST = 1 << 16
"""Bytes in which the scan has to begin."""
_KNOWN_KEPT = 16


class HeaderCheck:
    """Looks at headers, and remembers those that it has seen decoded."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], list[bytes]] = {}

    def fault(self, jpeg: np.ndarray, *, stream: str, height: int, width: int) -> str | None:
        """What is wrong with a JPEG, as a verb and its object; None if nothing can be seen.

        Args:
            jpeg: uint8 [bytes].
            stream: `rgb` or `flow`.
            height: that the picture must have, in pixels.
            width: that it must have.
        """
        if jpeg[-2:].tobytes() != _END:
            return "is not a whole JPEG"
        known = self._known.setdefault((stream, height, width), [])
        for header in known:
            if jpeg[: len(header)].tobytes() == header:
                return None
        size, header = read_header(jpeg[:_LONGEST].tobytes())
        if size is None:
            return "is not a JPEG"
        if size != (height, width):
            return f"has {size[0]}x{size[1]} pixels"
        # a header that is new costs a decoding; where every frame has one of its own, each does
        if cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED) is None:
            return "is not a JPEG"
        known.append(header)
        del known[:-_KNOWN_KEPT]
        return None


def read_header(content: bytes) -> tuple[tuple[int, int] | None, bytes]:
    """Height and width that a JPEG declares, and its bytes up to the compressed picture.

    Args:
        content: of the file, from its start.

    Returns:
        None and nothing where this is no header of a JPEG with one frame.

    Source: ITU-T T.81, annex B.
    """
    size: tuple[int, int] | None = None
    place = 2
    if not content.startswith(_START):
        return None, b""
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return None, b""
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if marker not in _ALLOWED or length < 2:
            return None, b""
        if marker in _FRAMES:
            if size is not None or length < 8:
                return None, b""
            size = (
                int.from_bytes(content[place + 5 : place + 7]),
                int.from_bytes(content[place + 7 : place + 9]),
            )
        place += 2 + length
        if marker == _SCAN:
            return (size, content[:place]) if size is not None and place <= len(content) else (None, b"")
    return None, b""
