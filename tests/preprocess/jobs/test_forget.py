"""Records of jobs go, and nothing but them."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from preprocess.errors import EnvironmentProblem, InvalidInput, JobConflict, NoSuchJob
from preprocess.jobs.jobs import Jobs
from preprocess.jobs.process import Process
from preprocess.jobs.record import Ended, Started
from tests.preprocess.jobs.small_jobs import DOWNLOAD, ended, past_job, paused_at, wait_until

FORGET = """
import sys
from pathlib import Path
from preprocess.jobs.jobs import Jobs

jobs = Jobs(Path(sys.argv[1]))
for job in sys.argv[2:]:
    jobs.forget(job)
if not sys.argv[2:]:
    print(jobs.forget_ended())
"""
ONE, TWO, THREE = "1" * 16, "2" * 16, "3" * 16


@pytest.fixture
def jobs(tmp_path):
    """Of a root in which nothing runs."""
    return Jobs(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".kineflow-serve" / "jobs"


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_record_and_log_go_and_what_was_made_stays(root):
    jobs = Jobs(root)
    job = ended(jobs, jobs.start("download", DOWNLOAD))
    other = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    clips = sorted((root / "clips").rglob("*"))
    jobs.forget(job.id)
    assert [one.id for one in jobs.newest(10).jobs] == [other.id]
    assert kept(root / ".kineflow-serve" / "jobs") == [other.id]
    for lost in (jobs.find, jobs.log, jobs.forget, jobs.cancel, jobs.resume):
        with pytest.raises(NoSuchJob, match=f"there is no job '{job.id}'"):
            lost(job.id)
    assert sorted((root / "clips").rglob("*")) == clips


def test_job_that_runs_is_not_forgotten(root, pause_at):
    jobs = Jobs(root)
    wait_for_pause = pause_at("preprocess.trim:trim:pause:1")
    job = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    with pytest.raises(JobConflict, match="runs; wait for its end or cancel it"):
        jobs.forget(job.id)
    assert jobs.forget_ended() == 0
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"
    jobs.forget(job.id)
    assert jobs.newest(1).total == 0


def test_command_without_supervisor_is_not_forgotten(jobs, tmp_path):
    """Else a second one could start beside it."""
    Started(process=Process.of(os.getpid())).write(past_job(tmp_path, ONE, has_ended=False))
    assert jobs.find(ONE).state == "lost"
    with pytest.raises(JobConflict, match="runs"):
        jobs.forget(ONE)
    assert jobs.is_kept(ONE)


def test_lost_job_goes_by_its_id_only(jobs, tmp_path, folder):
    past_job(tmp_path, ONE, has_ended=False)
    past_job(tmp_path, TWO)
    past_job(tmp_path, THREE)
    assert jobs.find(ONE).state == "lost"
    assert jobs.forget_ended() == 2
    assert kept(folder) == [ONE]
    jobs.forget(ONE)
    assert kept(folder) == []


def test_damaged_record_goes_when_the_job_has_ended(jobs, tmp_path, folder):
    (past_job(tmp_path, ONE) / "job.json").write_text("{")
    (past_job(tmp_path, TWO, has_ended=False) / "job.json").write_text("{")
    jobs.forget(ONE)
    with pytest.raises(InvalidInput, match=rf"is not JSON.*whether job {TWO} runs.*remove .*{TWO} by hand"):
        jobs.forget(TWO)
    assert kept(folder) == [TWO]


@pytest.mark.parametrize("name", ["0" * 16, "", ".", "..", "../jobs", f"../jobs/{ONE}", f"{ONE}/.", f"{ONE}\n"])
def test_no_such_job(name, jobs, tmp_path, folder):
    past_job(tmp_path, ONE)
    with pytest.raises(NoSuchJob):
        jobs.forget(name)
    assert kept(folder) == [ONE]


def test_nothing_to_forget_makes_nothing(jobs, tmp_path):
    with pytest.raises(NoSuchJob):
        jobs.forget(ONE)
    assert jobs.forget_ended() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("moment", "is_kept"), [("before", True), ("after", False)])
def test_killed_while_it_forgets(moment, is_kept, jobs, tmp_path, folder):
    past_job(tmp_path, ONE)
    point = f"preprocess.jobs.forget:rename_into_place:{moment}:1"
    environment = {**os.environ, **paused_at(point, folder=tmp_path / "calls")}
    run = subprocess.run([sys.executable, "-c", FORGET, str(tmp_path), ONE], env=environment, check=False)
    assert run.returncode == -signal.SIGKILL
    listing = jobs.newest(10)
    assert [job.state for job in listing.jobs] == (["failed"] if is_kept else [])
    assert listing.damaged == {}
    assert len(kept(folder)) == 1
    past_job(tmp_path, TWO)
    jobs.forget(TWO)
    assert kept(folder) == ([ONE] if is_kept else []), "what was left behind is still there"


def test_start_sweeps_too(root):
    jobs = Jobs(root)
    left = past_job(root, ONE)
    left.rename(left.with_name(f".forgotten-{ONE}"))
    job = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    assert kept(left.parent) == [job.id]


def test_half_a_record_is_no_damaged_one(jobs, tmp_path, monkeypatch):
    """The files are still there when the first look no longer finds the job."""
    past_job(tmp_path, ONE)
    seen = []
    monkeypatch.setattr("preprocess.jobs.forget.shutil.rmtree", lambda *_, **__: seen.append(jobs.newest(10)))
    jobs.forget(ONE)
    assert [(listing.jobs, listing.damaged) for listing in seen] == [((), {})]


def test_job_that_is_forgotten_while_it_is_looked_at_is_not_lost(jobs, tmp_path, monkeypatch):
    past_job(tmp_path, ONE)
    read = Ended.read

    def read_late(folder):
        shutil.rmtree(folder)
        return read(folder)

    monkeypatch.setattr(Ended, "read", read_late)
    assert jobs.newest(10).jobs == ()


def test_folder_that_cannot_be_renamed(jobs, tmp_path, monkeypatch):
    past_job(tmp_path, ONE)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("preprocess.jobs.forget.rename_into_place", refuse)
    with pytest.raises(EnvironmentProblem, match=f"cannot remove .*{ONE}: Permission denied"):
        jobs.forget(ONE)
    assert jobs.find(ONE).state == "failed"


def test_many_at_once_forget_each_job_once(tmp_path):
    for number in range(8):
        past_job(tmp_path, f"{number:016x}")
    command = [sys.executable, "-c", FORGET, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    forgotten = [int(process.communicate()[0]) for process in running]
    assert sum(forgotten) == 8
    wait_until(lambda: Jobs(tmp_path).newest(1).total == 0, patience_s=1)
