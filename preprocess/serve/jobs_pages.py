"""Jobs for people: the list, the form of a new one, and each with its log."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.datastructures import FormData

from preprocess.commands.schema import DESCRIBED, CommandSchema
from preprocess.errors import InvalidInput, JobConflict
from preprocess.jobs.job import Job, JobState
from preprocess.jobs.log import LogPart
from preprocess.jobs.options import offered
from preprocess.jobs.progress import progress_of
from preprocess.serve import charts
from preprocess.serve.jobs_api import MOST_JOBS, jobs_of, refusals
from preprocess.serve.render import page
from preprocess.serve.run_folders import Kind

_MOST_PLACES = 200
_MOST_KNOWN = 8
_CSRF = "csrf"

router = APIRouter(include_in_schema=False, dependencies=[Depends(refusals)])


async def _form(request: Request) -> FormData:
    return await request.form()


@router.get("/jobs")
def jobs(request: Request) -> HTMLResponse:
    """The latest jobs, and what can be started."""
    found = jobs_of(request).newest(MOST_JOBS)
    commands = [offered(command) for command in DESCRIBED]
    running = any(job.state is JobState.RUNNING for job in found.jobs)
    root = str(request.app.state.root)
    return page(request, "jobs.html", listing=found, commands=commands, running=running, root=root)


@router.get("/jobs/new/{command}")
def new_job(request: Request, command: str) -> HTMLResponse:
    """The form of a command; the query fills it in."""
    return _show_form(request, _schema(command), given=_lists(request.query_params.multi_items()))


@router.post("/jobs/new/{command}", response_model=None)
def start_job(
    request: Request, command: str, form: Annotated[FormData, Depends(_form)]
) -> HTMLResponse | RedirectResponse:
    """Start what the form says, or show it again with what is wrong."""
    schema = _schema(command)
    given = _lists([(name, value) for name, value in form.multi_items() if name != _CSRF and isinstance(value, str)])
    options = {
        name: [line.strip() for value in values for line in value.splitlines()] for name, values in given.items()
    }
    try:
        job = jobs_of(request).start(command, options)
    except (InvalidInput, JobConflict) as error:
        status = 409 if isinstance(error, JobConflict) else 422
        return _show_form(request, schema, given=given, problem=str(error), status=status)
    return _to(job)


@router.get("/jobs/{id}")
def job(request: Request, id: str) -> HTMLResponse:  # noqa: A002 as the field is called
    """One job with the end of its log."""
    found = jobs_of(request).find(id)
    log = jobs_of(request).log(id)
    run = next((run for run in request.app.state.runs.folders() if run.name == found.output), None)
    again = f"/jobs/new/{found.command}?{urlencode(found.options, doseq=True)}"
    progress = progress_of(found, root=request.app.state.root)
    earlier = found.resumed_from
    return page(
        request,
        "job.html",
        job=found,
        log=log,
        run=run,
        again=again,
        progress=progress,
        bars=charts.stacked(progress.outcomes, whole=progress.total) if progress else [],
        earlier_is_kept=earlier is not None and jobs_of(request).is_kept(earlier),
    )


@router.get("/jobs/{id}/log.txt")
def whole_log(request: Request, id: str) -> StreamingResponse:  # noqa: A002
    """All that a job has said so far, as plain text."""
    first = jobs_of(request).log(id, offset=0)

    def parts() -> Iterator[str]:
        part: LogPart = first
        while part.text:
            yield part.text
            part = jobs_of(request).log(id, offset=part.next)

    return StreamingResponse(parts(), media_type="text/plain", headers={"Cache-Control": "no-store"})


@router.post("/jobs/{id}/cancel")
def cancel(request: Request, id: str) -> RedirectResponse:  # noqa: A002
    """Tell a job to stop."""
    return _to(jobs_of(request).cancel(id))


@router.post("/jobs/{id}/resume")
def resume(request: Request, id: str) -> RedirectResponse:  # noqa: A002
    """Go on with a job."""
    return _to(jobs_of(request).resume(id))


@router.post("/jobs/{id}/forget")
def forget(request: Request, id: str) -> RedirectResponse:  # noqa: A002
    """Remove the record and the log of a job."""
    jobs_of(request).forget(id)
    return RedirectResponse("/jobs", status_code=303)


@router.post("/jobs/forget")
def forget_ended(request: Request) -> RedirectResponse:
    """Remove the records and the logs of all jobs that have ended."""
    jobs_of(request).forget_ended()
    return RedirectResponse("/jobs", status_code=303)


def _to(job: Job) -> RedirectResponse:
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


def _schema(command: str) -> CommandSchema:
    if command not in DESCRIBED:
        raise HTTPException(404, f"{command[:40]!r} cannot be a job; there are {', '.join(DESCRIBED)}")
    return offered(command)


def _show_form(
    request: Request,
    schema: CommandSchema,
    *,
    given: Mapping[str, Sequence[str]],
    problem: str = "",
    status: int = 200,
) -> HTMLResponse:
    # what must be given first, then what may be
    parameters = sorted(schema.parameters, key=lambda parameter: not parameter.is_required)
    places = _places(request)
    known = {"lists": [name for name in places if name.endswith(".csv")][:_MOST_KNOWN]}
    for kind in Kind:
        known[kind.value] = [run.name for run in request.app.state.runs.folders() if run.kind is kind][:_MOST_KNOWN]
    return page(
        request,
        "new_job.html",
        status=status,
        schema=schema,
        parameters=parameters,
        given=given,
        problem=problem,
        places=places,
        known=known,
    )


def _places(request: Request) -> list[str]:
    """Names in ROOT that an option may want, to choose from."""
    root = request.app.state.root
    names = {run.name for run in request.app.state.runs.folders()}
    names |= {path.name for path in root.iterdir() if path.is_dir() or path.suffix == ".csv"}
    return sorted(name for name in names if not name.startswith("."))[:_MOST_PLACES]


def _lists(items: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in items:
        found.setdefault(name, []).append(value)
    return found
