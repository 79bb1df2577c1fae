"""The page of clips: filters, search, thumbnails."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from preprocess.outcomes import Outcome
from preprocess.serve.asked import clip_query, index_of
from preprocess.serve.index.clips import ClipQuery, find_clips, held_by_shards
from preprocess.serve.index.counts import label_names, message_text, splits_of
from preprocess.serve.render import page
from preprocess.serve.run_folders import Kind

router = APIRouter(include_in_schema=False)


@router.get("/clips")
def clips(request: Request, query: Annotated[ClipQuery, Depends(clip_query)]) -> Response:
    """Some clips."""
    folders = request.app.state.runs.folders()
    with index_of(request) as db:
        found = find_clips(db, query)
        keys = [clip.key for clip in found.clips]
        shard_runs = [run.id for run in folders if run.kind is Kind.SHARDS]
        pictured = {key: run for run in reversed(shard_runs) for key in held_by_shards(db, run=run, keys=keys)}
        labels, splits = label_names(db), splits_of(db)
        message = message_text(db, query.message)
    return page(
        request,
        "clips.html",
        query=query,
        found=found,
        pictured=pictured,
        labels=labels,
        splits=splits,
        outcomes=[outcome.value for outcome in Outcome],
        runs=folders,
        message=message,
        progress=request.app.state.index.progress(),
        next_href="/clips?" + urlencode(_fields(query) | {"after": found.next}) if found.next else "",
        first_href="/clips?" + urlencode(_fields(query)) if query.after else "",
    )


def _fields(query: ClipQuery) -> dict[str, str]:
    """The parameters of an address that asks for the first page of the same."""
    fields = {
        "q": query.text,
        "run": query.run,
        "split": query.split,
        "outcome": query.outcome,
        "cause": query.cause,
        "label": query.label,
        "unlabelled": "1" if query.label == "" else None,
        "message": None if query.message is None else str(query.message),
        "limit": str(query.most),
    }
    return {name: value for name, value in fields.items() if value}
