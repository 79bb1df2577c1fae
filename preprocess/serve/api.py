"""The JSON API: what the pages show, for programs."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from preprocess.serve.api_models import (
    ClipModel,
    ClipPageModel,
    DamageModel,
    DatasetModel,
    FailureModel,
    FailuresModel,
    FoundClipModel,
    IndexModel,
    RunModel,
    RunRecordModel,
    ShardClipModel,
    StandingModel,
)
from preprocess.serve.asked import RunCode, clip_query, index_of, run_asked
from preprocess.serve.clip_page import clip_asked, statistics_asked
from preprocess.serve.clip_record import ClipRecord, RunRecord, ShardClip
from preprocess.serve.flow_statistics import FlowStatistics
from preprocess.serve.index.clips import ClipQuery, Standing, find_clips
from preprocess.serve.index.counts import failures, labels, messages
from preprocess.serve.problems import BAD_QUERY, DAMAGED, NOT_FOUND
from preprocess.serve.retrying import advice
from preprocess.serve.run_folders import Kind, RunFolder
from preprocess.serve.run_states import RunNow, run_states

MOST_MESSAGES = 500

router = APIRouter(prefix="/api/v1", responses=BAD_QUERY)


@router.get("/index", summary="How far the index is", tags=["runs"])
def index(request: Request) -> IndexModel:
    """Bytes of manifests and shards that all other answers rest on, of those that there are."""
    progress = request.app.state.index.progress()
    return IndexModel(read_bytes=progress.read, whole_bytes=progress.whole)


@router.get("/runs", summary="All runs", tags=["runs"])
def runs(request: Request) -> list[RunModel]:
    """Every folder of clips or shards below ROOT: how far it is, and what is wrong with it."""
    with index_of(request) as db:
        states = run_states(db, request.app.state.runs.folders())
    return [_run(state) for state in states]


@router.get("/clips", summary="Clips, page by page", tags=["clips"])
def clips(request: Request, query: Annotated[ClipQuery, Depends(clip_query)]) -> ClipPageModel:
    """Clips sorted by key. Give `next` of a page as `after` to get the one behind it."""
    with index_of(request) as db:
        found = find_clips(db, query)
    return ClipPageModel(
        clips=[FoundClipModel(key=clip.key, standings=list(map(_standing, clip.standings))) for clip in found.clips],
        next=found.next,
        total=found.total,
        labels=list(found.labels),
        notes=list(found.notes),
    )


@router.get("/clip", summary="One clip", tags=["clips"], responses=NOT_FOUND)
def clip(record: Annotated[ClipRecord, Depends(clip_asked)]) -> ClipModel:
    """All that every run knows of a clip: each line of its manifests, and where it is in shards."""
    return ClipModel(key=record.key, runs=list(map(_record, record.runs)))


@router.get("/clip/statistics", summary="The flow of a clip", tags=["clips"], responses={**NOT_FOUND, **DAMAGED})
def statistics(found: Annotated[FlowStatistics, Depends(statistics_asked)]) -> FlowStatistics:
    """Histograms of both components, the share of pixels at the bound, the share of fields that stand still."""
    return found


@router.get("/failures", summary="Why clips are not there", tags=["runs"], responses=NOT_FOUND)
def failures_(request: Request, run: RunCode | None = None) -> FailuresModel:
    """Clips that are not done, of one run or all, by outcome and cause and by what was said."""
    folders = [run_asked(request, run)] if run else request.app.state.runs.folders()
    commands = {folder.id: folder.command for folder in folders}
    with index_of(request) as db:
        counts = failures(db, run=run)
        said = messages(db, run=run, most=MOST_MESSAGES)
    return FailuresModel(
        counts=[
            FailureModel(**asdict(count), advice=advice(count.outcome, command=commands.get(count.run, "download")))
            for count in counts
        ],
        messages=said,
    )


@router.get("/dataset", summary="The data set of a run", tags=["runs"], responses=NOT_FOUND)
def dataset(request: Request, folder: Annotated[RunFolder, Depends(run_asked)]) -> DatasetModel:
    """Clips of every class, and the data set card where there is one."""
    with index_of(request) as db:
        counts = labels(db, run=folder.id)
    view = request.app.state.cards.view(folder) if folder.kind is Kind.CLIPS else None
    return DatasetModel(
        run=folder.id,
        labels=counts,
        card=asdict(view.card) if view and view.card else None,
        notes=list(view.notes) if view else ["shards have no card of their own"],
    )


def _run(state: RunNow) -> RunModel:
    row = state.row
    torn = [DamageModel(where=f"byte {at} of the manifest", reason=reason) for at, reason in state.damaged_lines]
    bad = [DamageModel(where=name, reason=reason) for name, reason in state.damaged_shards]
    notes: tuple[str, ...] = state.view.notes if state.view else ()
    return RunModel(
        id=row.code,
        name=row.name,
        kind=row.kind,
        outcomes=state.outcomes,
        shards=state.shards,
        index=IndexModel(read_bytes=row.read, whole_bytes=row.whole),
        free_bytes=state.free_bytes,
        notes=[note for note in (row.note, state.problem, *notes) if note],
        damaged_lines=row.damaged,
        damage=[*torn, *bad],
        status=state.view.to_document() if state.view else None,
        samples=list(state.samples),
    )


def _standing(standing: Standing) -> StandingModel:
    return StandingModel(**standing._asdict())  # without its place in the run, which says nothing outside


def _record(record: RunRecord) -> RunRecordModel:
    return RunRecordModel(
        standing=_standing(record.standing),
        lines=list(record.lines),
        shard=_shard_clip(record.shard) if record.shard else None,
        problem=record.problem,
    )


def _shard_clip(clip: ShardClip) -> ShardClipModel:
    return ShardClipModel(
        shard=clip.name,
        row=clip.row,
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        time_start=clip.time_start,
        time_end=clip.time_end,
        bytes=clip.bytes,
        crc32=clip.crc32,
        settings=dict(clip.settings),
    )
