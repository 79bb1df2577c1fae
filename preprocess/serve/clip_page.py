"""The page of one clip: frames and flow in step, what the flow is like, all that the runs know of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from preprocess.flow.quantise import FLOW_BOUND
from preprocess.serve import charts
from preprocess.serve.asked import Key, RunCode, index_of, shard_clip_asked
from preprocess.serve.clip_record import ClipRecord, ShardClip, read_clip
from preprocess.serve.flow_statistics import STILL_PX, FlowStatistics
from preprocess.serve.pictures import MAGNITUDES
from preprocess.serve.render import page
from preprocess.shards import Shard

router = APIRouter(include_in_schema=False)


def clip_asked(request: Request, key: Key) -> ClipRecord:
    """All that is known of the clip that a request names."""
    with index_of(request) as db:
        found = read_clip(db, key, folders=request.app.state.runs.folders(), shards=request.app.state.shards)
    if found is None:
        raise HTTPException(404, f"no run knows a clip {key[:80]!r}")
    return found


def statistics_asked(
    request: Request, asked: Annotated[tuple[Shard, ShardClip], Depends(shard_clip_asked)]
) -> FlowStatistics:
    """Statistics of the clip of a shard that a request names."""
    found: FlowStatistics = request.app.state.statistics.get(*asked)
    return found


@router.get("/clip")
def clip(request: Request, record: Annotated[ClipRecord, Depends(clip_asked)], run: RunCode | None = None) -> Response:
    """One clip."""
    return page(request, "clip.html", record=record, shown=record.shown(run), magnitudes=MAGNITUDES)


@router.get("/fragments/statistics")
def statistics(request: Request, found: Annotated[FlowStatistics, Depends(statistics_asked)]) -> Response:
    """What the flow of a clip is like; loaded after the page, since all of it has to be decoded."""
    return page(
        request,
        "statistics_fragment.html",
        found=found,
        u=charts.histogram(found.u, found.edges_px, unit="px"),
        v=charts.histogram(found.v, found.edges_px, unit="px"),
        still_px=STILL_PX,
        bound=FLOW_BOUND,
    )
