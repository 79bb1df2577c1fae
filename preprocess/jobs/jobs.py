"""All jobs below one folder. Nothing of them is remembered here: who comes later, or after a crash, sees the same."""

import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import EnvironmentProblem, InvalidInput, JobConflict, NoSuchJob
from preprocess.jobs.forget import remove, sweep
from preprocess.jobs.job import Job, JobState
from preprocess.jobs.launch import launch
from preprocess.jobs.log import LogPart, read_log
from preprocess.jobs.options import order
from preprocess.jobs.record import LOG_NAME, Asked, CancelAsked, Ended
from preprocess.paths import make_folder
from preprocess.serve.config import STATE_FOLDER

JOBS_FOLDER = "jobs"
GRACE_S = 30.0
"""Seconds from the request to stop to the kill: what is computed is finished before the request is heard."""

_ID = re.compile(r"[0-9a-f]{16}")
_NEEDS = "jobs need a ROOT to write to"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Some jobs."""

    jobs: tuple[Job, ...]
    """Latest first."""
    damaged: dict[str, str]
    """Id of a job whose record cannot be read, to why."""
    total: int
    """Of all jobs there are."""


class Jobs:
    """Starts, finds, ends and forgets jobs; for many threads, and for several servers at once.

    At most one job of each command runs at a time.

    Args:
        root: folder that commands run in, and that no path of theirs leads out of. `.kineflow-serve/jobs/` there keeps
            the records.
        grace_s: seconds from the request to stop to the kill.
    """

    def __init__(self, root: Path, *, grace_s: float = GRACE_S) -> None:
        self._root = root
        self._folder = root / STATE_FOLDER / JOBS_FOLDER
        self._grace_s = grace_s

    def start(self, command: str, options: Mapping[str, Sequence[str]], *, resumed_from: str | None = None) -> Job:
        """Start a command as a job.

        Args:
            command: a name of `preprocess.commands.schema.DESCRIBED`.
            options: see `preprocess.jobs.options.order`.
            resumed_from: id of the job that this one goes on with.

        Raises:
            InvalidInput: the command or an option is refused.
            JobConflict: a job of this command runs.
            EnvironmentProblem: it cannot be recorded or started.
        """
        wanted = order(command, options, root=self._root)
        with self._alone():
            sweep(self._folder)
            for job in self._busy(command):
                raise JobConflict(
                    f"job {job.id} runs `preprocess {command}`, and one at a time may; wait for its end or cancel it"
                )
            new = launch(wanted, below=self._folder, root=self._root, grace_s=self._grace_s, resumed_from=resumed_from)
        return self.find(new)

    def newest(self, count: int) -> Listing:
        """The `count` jobs that were started last.

        Raises:
            EnvironmentProblem: the folder of jobs cannot be read.
        """
        found = self._folders()
        jobs, damaged = [], {}
        for folder in found[:count]:
            try:
                job = Job.read(folder)
            except InvalidInput as error:
                damaged[folder.name] = str(error)
            else:
                jobs += [job] if job else []
        return Listing(jobs=tuple(jobs), damaged=damaged, total=len(found))

    def is_kept(self, id: str) -> bool:  # noqa: A002 as the field is called
        """Whether there is a job of an id, be its record damaged."""
        return bool(_ID.fullmatch(id)) and Asked.time_ns(self._folder / id) is not None

    def find(self, id: str) -> Job:  # noqa: A002
        """The job of an id.

        Raises:
            NoSuchJob: there is none.
            InvalidInput: its record is damaged.
        """
        job = Job.read(self._folder / id) if _ID.fullmatch(id) else None
        if job is None:
            raise _no_such_job(id)
        return job

    def cancel(self, id: str) -> Job:  # noqa: A002
        """Tell a job to stop: what is under way is dropped, what is done stays. It is killed when it does not.

        Returns:
            The job, which runs until it has stopped. To cancel it twice does no harm.

        Raises:
            NoSuchJob, InvalidInput: see `find`.
            JobConflict: it does not run.
        """
        job = self.find(id)
        folder = self._folder / id
        asked = Asked.read(folder)
        if asked is None or job.state is not JobState.RUNNING:
            raise JobConflict(f"job {id} does not run: it is {job.state.replace('_', ' ')}")
        if not job.is_stopping:
            with suppress(EnvironmentProblem):  # said on pages only, and the disk may be full by this very job
                CancelAsked(at=time.time()).write(folder)
        asked.supervisor.signal(signal.SIGTERM)
        return self.find(id)

    def resume(self, id: str) -> Job:  # noqa: A002
        """Start the command of a job again, as a new job: it does only what is missing.

        Raises:
            NoSuchJob, InvalidInput: see `find`; or its options are no longer good.
            JobConflict: this or another job of the command runs.
            EnvironmentProblem: it cannot be recorded or started.
        """
        job = self.find(id)
        return self.start(job.command, job.options, resumed_from=id)

    def forget(self, id: str) -> None:  # noqa: A002
        """Remove the record and the log of a job that does not run. What its command made stays.

        A damaged record goes too, where it says that the job has ended.

        Raises:
            NoSuchJob: there is none.
            JobConflict: its command runs.
            InvalidInput: its record is damaged, and nobody can say whether its command runs.
            EnvironmentProblem: it cannot be removed.
        """
        if not self.is_kept(id):
            raise _no_such_job(id)
        folder = self._folder / id
        with self._alone():
            sweep(self._folder)
            if Ended.time_ns(folder) is None:
                self._check_that_nothing_runs(id)
            remove(folder)

    def forget_ended(self) -> int:
        """Remove the records and the logs of all jobs that have ended; returns how many those were.

        Lost ones stay: they may still run, where they were started.

        Raises:
            EnvironmentProblem: the folder of jobs cannot be read or written.
        """
        if not self._folders():
            return 0
        with self._alone():
            sweep(self._folder)
            ended = [folder for folder in self._folders() if Ended.time_ns(folder) is not None]
            for folder in ended:
                remove(folder)
        return len(ended)

    def log(self, id: str, *, offset: int | None = None) -> LogPart:  # noqa: A002
        """A part of what the command of a job said.

        Args:
            id: of the job.
            offset: bytes to pass over; None for the last part.

        Raises:
            NoSuchJob, InvalidInput: see `find`.
            EnvironmentProblem: the log cannot be read.
        """
        job = self.find(id)
        return read_log(self._folder / id / LOG_NAME, offset=offset, is_whole=job.state is not JobState.RUNNING)

    def _check_that_nothing_runs(self, id: str) -> None:  # noqa: A002
        try:
            job = self.find(id)
        except InvalidInput as error:
            raise InvalidInput(
                f"{error}; nobody can say whether job {id} runs: if it does not, remove {self._folder / id} by hand"
            ) from error
        if job.state is JobState.RUNNING or job.has_process:
            raise JobConflict(f"job {id} runs; wait for its end or cancel it, then it can be forgotten")

    def _busy(self, command: str) -> Iterator[Job]:
        """Jobs of a command that have a process."""
        for folder in self._folders():
            if Ended.time_ns(folder) is not None:
                continue
            with suppress(InvalidInput):  # damaged, as the list of jobs says
                job = Job.read(folder)
                if job and job.command == command and (job.state is JobState.RUNNING or job.has_process):
                    yield job

    def _folders(self) -> list[Path]:
        """Of all jobs, the latest first."""
        try:
            folders = [folder for folder in self._folder.iterdir() if _ID.fullmatch(folder.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EnvironmentProblem(f"cannot read {self._folder}: {error.strerror}") from error
        times_ns = {folder: asked_ns for folder in folders if (asked_ns := Asked.time_ns(folder)) is not None}
        return sorted(times_ns, key=times_ns.__getitem__, reverse=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Until the block ends no other thread or server starts or forgets a job."""
        make_folder(self._folder, remedy=_NEEDS)
        path = self._folder / ".lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EnvironmentProblem(f"cannot write {path}: {error.strerror}; {_NEEDS}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _no_such_job(id: str) -> NoSuchJob:  # noqa: A002
    return NoSuchJob(f"there is no job {id[:40]!r}")
