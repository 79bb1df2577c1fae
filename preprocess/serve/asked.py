"""What requests ask for, within bounds: parameters that several addresses share, and what they name."""

from contextlib import AbstractContextManager
from sqlite3 import Connection
from typing import Annotated

from fastapi import HTTPException, Query, Request

from preprocess.serve.clip_record import ShardClip, find_shard_clip
from preprocess.serve.index.clips import ClipQuery
from preprocess.serve.index.indexer import Indexer
from preprocess.serve.run_folders import RunFolder
from preprocess.shards import Shard

LONGEST_KEY = 300
_LONGEST_LABEL = 500
_LARGEST_NUMBER = 2**53

RunCode = Annotated[str, Query(pattern="^[0-9a-f]{12}$", description="`id` of a run, from `/api/v1/runs`")]
RunOrAll = Annotated[str, Query(pattern="^([0-9a-f]{12})?$", description="`id` of a run; empty for all")]
Key = Annotated[str, Query(min_length=1, max_length=LONGEST_KEY, description="Key of a clip")]
Word = Annotated[str, Query(max_length=40)]
Label = Annotated[str, Query(max_length=_LONGEST_LABEL, description="A class, as its list spells it")]
Text = Annotated[str, Query(max_length=100, description="Beginning of a key, part of an id, or part of a class")]
After = Annotated[str, Query(max_length=LONGEST_KEY, description="`next` of the page before")]
Number = Annotated[int, Query(ge=0, le=_LARGEST_NUMBER)]
Most = Annotated[int, Query(ge=1, le=200, description="Clips of a page")]


def index_of(request: Request) -> AbstractContextManager[Connection]:
    """The index, for one request."""
    indexer: Indexer = request.app.state.index
    return indexer.reading()


def clip_query(
    run: RunOrAll = "",
    split: Word = "",
    outcome: Word = "",
    cause: Word = "",
    label: Label = "",
    unlabelled: Annotated[bool, Query(description="Only clips without a class")] = False,
    message: Annotated[Number | None, Query(description="`id` of a message, from `/api/v1/failures`")] = None,
    q: Text = "",
    after: After = "",
    limit: Most = 50,
) -> ClipQuery:
    """What clips a request asks for; empty texts ask for nothing."""
    text = q.strip()
    if not (text + after).isprintable():
        raise HTTPException(422, "q and after must be printable text")
    return ClipQuery(
        run=run or None,
        split=split or None,
        outcome=outcome or None,
        cause=cause or None,
        label="" if unlabelled else label or None,
        message=message,
        text=text,
        after=after,
        most=limit,
    )


def run_asked(request: Request, run: RunCode) -> RunFolder:
    """The run that a request names."""
    found: RunFolder | None = request.app.state.runs.folder(run)
    if found is None:
        raise HTTPException(404, f"there is no run {run!r}; `/api/v1/runs` lists them")
    return found


def shard_clip_asked(request: Request, run: RunCode, key: Key) -> tuple[Shard, ShardClip]:
    """The clip of a shard that a request names."""
    folder = run_asked(request, run)
    with index_of(request) as db:
        found = find_shard_clip(db, key, run=folder, shards=request.app.state.shards)
    if found is None:
        raise HTTPException(404, f"{folder.name} has no frames of {key[:80]!r}")
    return found
