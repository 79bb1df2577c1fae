"""The pages of all runs and of one, and the part of them that renews itself."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from preprocess.serve import charts
from preprocess.serve.asked import RunOrAll, index_of
from preprocess.serve.render import page
from preprocess.serve.run_folders import RunFolder
from preprocess.serve.run_states import RunNow, run_states

router = APIRouter(include_in_schema=False)


@router.get("/")
def runs(request: Request) -> Response:
    """All runs."""
    return _answer(request, "runs.html", one=None)


@router.get("/runs/{code}")
def run(request: Request, code: str) -> Response:
    """One run."""
    return _answer(request, "runs.html", one=_found(request, code))


@router.get("/fragments/runs")
def runs_fragment(request: Request, run: RunOrAll = "") -> Response:
    """What renews itself: all runs, or one."""
    return _answer(request, "runs_fragment.html", one=_found(request, run) if run else None)


def _found(request: Request, code: str) -> RunFolder:
    found: RunFolder | None = request.app.state.runs.folder(code)
    if found is None:
        raise HTTPException(404, "there is no such run (any more)")
    return found


def _answer(request: Request, template: str, *, one: RunFolder | None) -> Response:
    folders = request.app.state.runs.folders() if one is None else (one,)
    with index_of(request) as db:
        states = run_states(db, folders)
    return page(
        request,
        template,
        one=one,
        runs=[(state, _timeline(state), charts.stacked(state.outcomes)) for state in states],
        progress=request.app.state.index.progress(),
        root=str(request.app.state.root),
    )


def _timeline(state: RunNow) -> charts.Timeline | None:
    samples = list(state.samples)
    # of a run at rest there is nothing to see but a line
    if len(samples) > 1 and samples[-1].outcomes == samples[-2].outcomes and not (state.view and state.view.goes_on):
        samples.pop()
    return charts.timeline(samples) if len(samples) > 2 else None
