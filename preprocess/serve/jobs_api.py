"""Jobs for programs: `/api/v1/commands` and `/api/v1/jobs`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from preprocess.commands.schema import DESCRIBED, CommandSchema
from preprocess.errors import InvalidInput, JobConflict, NoSuchJob
from preprocess.jobs.job import Job, JobState
from preprocess.jobs.jobs import Jobs
from preprocess.jobs.log import LogPart
from preprocess.jobs.options import offered
from preprocess.jobs.progress import Progress, progress_of
from preprocess.serve.problems import Problem

MOST_JOBS = 200
"""Of one answer."""

_MEANINGS = {
    404: "There is no such job",
    409: "The job, or another one, is in a state that this does not go with",
    422: "A parameter or an option is refused, or the record of the job is damaged",
}

Scalar = bool | int | float | str


def refusals() -> Iterator[None]:
    """What jobs refuse to a request as an answer of HTTP; a dependency."""
    try:
        yield
    except NoSuchJob as error:
        raise HTTPException(404, str(error)) from error
    except JobConflict as error:
        raise HTTPException(409, str(error)) from error
    except InvalidInput as error:
        raise HTTPException(422, str(error)) from error


router = APIRouter(prefix="/api/v1", tags=["jobs"], dependencies=[Depends(refusals)])


class _Model(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class NewJob(_Model):
    """What to run."""

    command: str = Field(max_length=40, examples=["verify"])
    """A name of `/api/v1/commands`."""
    options: dict[str, Scalar | list[Scalar]] = Field(examples=[{"shards": "shards", "decode": True}])
    """Names of parameters to their values; several values as a list. Empty values count as not given."""


class JobAnswer(_Model):
    """A job, as it is now. Times are epoch seconds."""

    id: str
    command: str
    options: dict[str, list[str]]
    """As they can be sent to start the same job again; a flag is `true`."""
    line: list[str]
    """The command, word by word, as it would be typed in ROOT."""
    state: JobState
    """`finished_with_failures` is exit status 1, `failed` any other; the supervisor of a `lost` job is gone."""
    note: str
    """Why it ended so, in the words of the command where it said so; may be empty."""
    created: float
    ended: float | None
    exit_status: int | None
    """Negative for the signal that ended the command."""
    is_stopping: bool
    """Whether it was told to stop and still runs."""
    resumed_from: str | None
    """Id of the job that this one goes on with, which may be forgotten."""
    pid: int | None
    """Of the command."""
    output: str | None
    """Folder that it writes, relative to ROOT."""
    progress: Progress | None
    """As the command publishes it; null before, and for commands that publish none."""

    @classmethod
    def of(cls, job: Job, *, root: Path) -> "JobAnswer":
        """A job with its progress."""
        return cls(
            id=job.id,
            command=job.command,
            options={name: list(values) for name, values in job.options.items()},
            line=list(job.line),
            state=job.state,
            note=job.note,
            created=job.created,
            ended=job.ended,
            exit_status=job.exit_status,
            is_stopping=job.is_stopping,
            resumed_from=job.resumed_from,
            pid=job.process.pid if job.process else None,
            output=job.output,
            progress=progress_of(job, root=root),
        )


class JobList(_Model):
    """The latest jobs."""

    jobs: list[JobAnswer]
    """Latest first."""
    damaged: dict[str, str]
    """Id of a job whose record cannot be read, to why."""
    total: int
    """Of all jobs there are."""


class Forgotten(_Model):
    """What was removed."""

    forgotten: int
    """Jobs."""


def jobs_of(request: Request) -> Jobs:
    """The jobs of the server's ROOT.

    Raises:
        EnvironmentProblem: it is gone, or cannot be read.
    """
    request.app.state.runs.check_root()
    return Jobs(request.app.state.root)


def _may(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation, beside the good one and what every address may answer."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


@router.get("/commands", summary="What can be a job, and its options")
def get_commands() -> list[CommandSchema]:
    """Every command with the options that `preprocess COMMAND --help` shows, read from the command itself.

    Not offered, since they send secrets of this machine, are the server's own business, or lead away from ROOT:
    `cookies`, `cookies-from-browser`, `metrics-file`, `metrics-port`, `staging`. Run the command on a
    terminal for these.
    """
    return [offered(command) for command in DESCRIBED]


@router.get("/jobs", summary="The latest jobs", responses=_may(422))
def get_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = 50) -> JobList:
    """Jobs of this server and of those before it, the latest first."""
    found = jobs_of(request).newest(limit)
    answers = [JobAnswer.of(job, root=request.app.state.root) for job in found.jobs]
    return JobList(jobs=answers, damaged=found.damaged, total=found.total)


@router.post("/jobs", summary="Start a job", status_code=201, responses=_may(409, 422))
def post_job(request: Request, response: Response, wanted: NewJob) -> JobAnswer:
    """Start a command, in ROOT, as if it were typed there.

    Options that cannot be read are refused before anything starts, with the command's own message; what it refuses
    once it runs ends the job. Paths are relative to ROOT and must stay below it. One job of each command runs at a time
    (409). The job outlives the server.
    """
    job = jobs_of(request).start(wanted.command, {name: _texts(value) for name, value in wanted.options.items()})
    response.headers["Location"] = f"{router.prefix}/jobs/{job.id}"
    return JobAnswer.of(job, root=request.app.state.root)


@router.get("/jobs/{id}", summary="One job", responses=_may(404, 422))
def get_job(request: Request, id: str) -> JobAnswer:  # noqa: A002 as the field is called
    """State, exit status and progress of a job."""
    return JobAnswer.of(jobs_of(request).find(id), root=request.app.state.root)


@router.get("/jobs/{id}/log", summary="What a job said", responses=_may(404, 422))
def get_log(
    request: Request,
    id: str,  # noqa: A002
    offset: Annotated[int | None, Query(ge=0, description="Bytes to pass over: `next` of the answer before.")] = None,
) -> LogPart:
    """Whole lines of the log from `offset` on, at most 64 KiB; without `offset` the last ones.

    Ask again with `next` for what follows: there is more at once while `next` is less than `size`, but for a line that
    is still being written. Codes for terminals are left out, control characters escaped.
    """
    return jobs_of(request).log(id, offset=offset)


@router.post("/jobs/{id}/cancel", summary="Tell a job to stop", status_code=202, responses=_may(404, 409, 422))
def post_cancel(request: Request, id: str) -> JobAnswer:  # noqa: A002
    """What is under way is dropped, what is done stays. A command that has not stopped after 30 s is killed.

    It takes no body, but is sent as `application/json`, as all that changes something.
    """
    return JobAnswer.of(jobs_of(request).cancel(id), root=request.app.state.root)


@router.post("/jobs/{id}/resume", summary="Go on with a job", status_code=201, responses=_may(404, 409, 422))
def post_resume(request: Request, response: Response, id: str) -> JobAnswer:  # noqa: A002
    """Start the same command again as a new job, which does only what is missing.

    It takes no body, but is sent as `application/json`, as all that changes something.
    """
    job = jobs_of(request).resume(id)
    response.headers["Location"] = f"{router.prefix}/jobs/{job.id}"
    return JobAnswer.of(job, root=request.app.state.root)


@router.delete("/jobs/{id}", summary="Forget a job", status_code=204, responses=_may(404, 409, 422))
def delete_job(request: Request, id: str) -> None:  # noqa: A002
    """Remove the record and the log of a job that does not run (409 when it does). What its command made stays.

    It takes no body.
    """
    jobs_of(request).forget(id)


@router.delete("/jobs", summary="Forget all jobs that have ended")
def delete_jobs(request: Request) -> Forgotten:
    """Remove the records and the logs of all jobs that have ended. Those that run stay, and those that are lost.

    It takes no body.
    """
    return Forgotten(forgotten=jobs_of(request).forget_ended())


def _texts(value: Scalar | list[Scalar]) -> list[str]:
    """Values as they would be typed."""
    values = value if isinstance(value, list) else [value]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]
