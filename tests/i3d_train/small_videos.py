"""Videos made in the test: no binary files to keep."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, *, frames: int, gray: int = 128, width: int = 96, height: int = 64) -> Path:
    """`frames` frames of noise around a gray level at 25 a second; returns `path`."""
    rng = np.random.default_rng(frames)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            pixels_HW3 = rng.normal(gray, 10, (height, width, 3)).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HW3, format="rgb24")))
        container.mux(stream.encode(None))
    return path
