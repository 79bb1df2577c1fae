"""Whether a JPEG begins and ends as one of its clip must, before it is handed to DALI.

DALI 2.4 crashes the process now and then when the header of one JPEG of a batch is damaged: the thread that finds out
throws, and frees what the others still read. So a header is known to be good before DALI sees it: it is byte for byte
one that OpenCV has decoded. An encoder writes the same one for all frames of a size, so this costs a comparison of 600
bytes a frame. Damage behind the header stops neither decoder; only a checksum tells it.
"""

import cv2
import numpy as np

from preprocess.shards.jpeg import END, LONGEST_HEADER, read_jpeg_header

_KNOWN_KEPT = 16
_COMPONENTS = {1, 3}
"""Gray and YCbCr, which all decoders turn into the same RGB; CMYK each into another."""


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
        if jpeg[-2:].tobytes() != END:
            return "is not a whole JPEG"
        known = self._known.setdefault((stream, height, width), [])
        for header in known:
            if jpeg[: len(header)].tobytes() == header:
                return None
        start = jpeg[:LONGEST_HEADER].tobytes()
        found = read_jpeg_header(start)
        if found is None:
            return "is not a JPEG"
        if (found.height, found.width) != (height, width):
            return f"has {found.height}x{found.width} pixels"
        if found.components not in _COMPONENTS:
            return f"has {found.components} colour components"
        # a header that is new costs a decoding; where every frame has one of its own, each does
        try:
            if cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED) is None:
                return "is not a JPEG"
        except cv2.error as error:
            return f"fails in OpenCV: {error}"
        known.append(start[: found.end])
        del known[:-_KNOWN_KEPT]
        return None
