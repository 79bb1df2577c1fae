"""The page of clips that are not there: by outcome and cause, by what was said, and what can be done about it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from preprocess.outcomes import Outcome
from preprocess.serve.asked import RunOrAll, Word, index_of
from preprocess.serve.index.counts import failures, messages
from preprocess.serve.render import page
from preprocess.serve.retrying import advice

router = APIRouter(include_in_schema=False)

MOST_MESSAGES = 100
"""Shown; the most frequent ones."""


@router.get("/failures")
def failures_page(
    request: Request,
    run: RunOrAll = "",
    outcome: Word = "",
    cause: Word = "",
) -> Response:
    """All failures, or those of a run, an outcome, a cause."""
    folders = request.app.state.runs.folders()
    with index_of(request) as db:
        counts = failures(db, run=run or None)
        found = messages(db, run=run or None, outcome=outcome or None, cause=cause or None, most=MOST_MESSAGES)
    chosen = [count for count in counts if outcome in {"", count.outcome} and cause in {"", count.cause}]
    commands = {folder.id: folder.command for folder in folders}
    return page(
        request,
        "failures.html",
        runs=folders,
        run=run,
        outcome=outcome,
        cause=cause,
        outcomes=[name.value for name in Outcome if name is not Outcome.DONE],
        causes=sorted({count.cause for count in counts if count.cause}),
        counts=chosen,
        total=sum(count.clips for count in chosen),
        advice={count: advice(count.outcome, command=commands.get(count.run, "download")) for count in chosen},
        messages=found,
        most_messages=MOST_MESSAGES,
        names={folder.id: folder.name for folder in folders},
        progress=request.app.state.index.progress(),
    )
