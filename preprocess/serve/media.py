"""Frames, flow, thumbnails and colours, as bytes; a request names a run and a clip, never a file."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from preprocess.serve import pictures
from preprocess.serve.asked import shard_clip_asked
from preprocess.serve.clip_record import ShardClip
from preprocess.shards import Shard
from preprocess.shards.layout import STREAMS

router = APIRouter(prefix="/media", include_in_schema=False)

MOST_BYTES = 1 << 30
"""Of one clip; all of its frames are sent in one answer."""

Asked = Annotated[tuple[Shard, ShardClip], Depends(shard_clip_asked)]


@router.get("/thumbnail")
def thumbnail(request: Request, asked: Asked) -> Response:
    """The frame in the middle of a clip, small."""
    shard, clip = asked

    def content() -> bytes:
        number = clip.frames // 2
        jpeg = shard.jpeg("rgb", int(shard.clips.rgb_first[clip.row]) + number)
        source = f"frame {number} of the clip in {clip.name}"
        return pictures.thumbnail(jpeg, height=clip.height, width=clip.width, source=source)

    return _kept(request, content, kind="image/jpeg", tag=f"t{clip.crc32['rgb']:08x}")


@router.get("/{stream}.bin")
def frames(request: Request, stream: str, asked: Asked) -> Response:
    """All JPEGs of a clip: their number, the length of each (uint32, little endian), and then the JPEGs themselves."""
    shard, clip = asked
    if stream not in STREAMS:
        raise HTTPException(404, f"there is no stream {stream[:40]!r}; there are {', '.join(STREAMS)}")

    def content() -> bytes:
        if clip.bytes[stream] > MOST_BYTES:
            raise HTTPException(409, f"the clip has {clip.bytes[stream]:,} bytes, a page plays {MOST_BYTES:,}")
        first, count = (int(getattr(shard.clips, f"{stream}_{name}")[clip.row]) for name in ("first", "count"))
        lengths = [len(shard.jpeg(stream, number)) for number in range(first, first + count)]
        table = np.array([count, *lengths], dtype="<u4").tobytes()
        return table + shard.clip_bytes(stream, clip.row).tobytes()

    return _kept(request, content, kind="application/octet-stream", tag=f"{stream}{clip.crc32[stream]:08x}")


@router.get("/colors/{magnitude}.png")
def colors(request: Request, magnitude: int) -> Response:
    """The colour of every pair of flow codes."""
    if magnitude not in pictures.MAGNITUDES:
        known = ", ".join(map(str, pictures.MAGNITUDES))
        raise HTTPException(404, f"there are colours for {known} px, not for {magnitude}")
    return _kept(request, partial(pictures.code_colors, magnitude), kind="image/png", tag=f"c{magnitude}")


@router.get("/legend.png")
def legend(request: Request) -> Response:
    """The wheel."""
    return _kept(request, pictures.legend, kind="image/png", tag="legend")


def _kept(request: Request, content: Callable[[], bytes], *, kind: str, tag: str) -> Response:
    # kept, and asked for again by its tag: the address names a clip, and what the clip holds may change
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content(), media_type=kind, headers=headers)
