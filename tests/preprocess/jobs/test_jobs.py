import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from preprocess.errors import EnvironmentProblem, InvalidInput, JobConflict, NoSuchJob
from preprocess.jobs.jobs import Jobs
from preprocess.jobs.process import Process
from preprocess.jobs.record import Asked
from preprocess.outcomes import read_manifest
from preprocess.paths import exclusive
from tests.crash.folders import leftovers
from tests.crash.processes import descendants, running
from tests.preprocess.jobs.conftest import of_root
from tests.preprocess.jobs.small_jobs import CLIPS, DOWNLOAD, FLOW, ended, wait_until

THIRD_CLIP = "preprocess.trim:trim:pause:3"
FIRST_FLOW = "preprocess.extract:tvl1_codes:pause:1"


def assert_nothing_runs(root):
    wait_until(lambda: of_root(root) == [], patience_s=5, what=f"still there: {of_root(root)}")


def test_download_and_flow_to_their_end(jobs, root):
    job = jobs.start("download", DOWNLOAD)
    assert (job.state, job.command, job.output) == ("running", "download", "clips")
    job = ended(jobs, job)
    assert (job.state, job.exit_status, job.note) == ("finished", 0, "")
    assert job.created < job.ended
    assert f"{CLIPS} rows = {CLIPS} done" in jobs.log(job.id).text
    assert len(read_manifest(root / "clips")) == CLIPS
    job = ended(jobs, jobs.start("flow", FLOW))
    assert job.state == "finished", jobs.log(job.id).text
    assert (root / "shards" / "index.json").exists()
    assert [one.command for one in jobs.newest(10).jobs] == ["flow", "download"]


def test_line_is_what_one_would_type(jobs):
    job = jobs.start("flow", {"out": ["shards"], "clips": ["-clips of mine"], "dry-run": ["true"], "cpus": ["0"]})
    assert job.line == ("preprocess", "flow", "--out=shards", "--cpus=0", "--dry-run", "--", "-clips of mine")
    assert " ".join(job.words) == "preprocess flow --out=shards --cpus=0 --dry-run -- '-clips of mine'"
    job = ended(jobs, job)
    assert (job.state, job.exit_status) == ("failed", 2)
    assert job.note.startswith("Error: ")
    assert "-clips" in job.note
    typed = subprocess.run([sys.executable, "-m", *job.line], cwd=jobs._root, capture_output=True, check=False)
    assert typed.returncode == job.exit_status
    assert typed.stderr.decode() == jobs.log(job.id).text


def test_some_failures(jobs, root):
    next((root / "videos").glob("*.mp4")).unlink()
    job = ended(jobs, jobs.start("download", DOWNLOAD))
    assert (job.state, job.exit_status) == ("finished_with_failures", 1)
    assert "missing: 1" in jobs.log(job.id).text


def test_cancel_drops_what_is_under_way_and_resume_goes_on(jobs, root, pause_at, monkeypatch):
    wait_for_pause = pause_at(THIRD_CLIP)
    job = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    assert jobs.cancel(job.id).is_stopping
    job = ended(jobs, job)
    assert (job.state, job.exit_status, job.is_stopping) == ("cancelled", 1, False)
    assert "run the same command again to go on" in jobs.log(job.id).text
    assert_nothing_runs(root)
    assert leftovers(root / "clips") == []
    assert len(read_manifest(root / "clips")) == 2
    monkeypatch.delenv("PYTHONPATH")
    resumed = ended(jobs, jobs.resume(job.id))
    assert (resumed.state, resumed.resumed_from) == ("finished", job.id)
    assert f"{CLIPS} done ({CLIPS - 2} clips done by this run)" in jobs.log(resumed.id).text


def test_cancel_at_once_on_a_full_disk(jobs, root, monkeypatch):
    def refuse(*_):
        raise EnvironmentProblem("no space left")

    job = jobs.start("download", DOWNLOAD)
    monkeypatch.setattr("preprocess.jobs.record.CancelAsked.write", refuse)
    # before Python is up in the supervisor
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"
    assert_nothing_runs(root)


def test_cancel_in_mid_flow_leaves_no_process(jobs, root, pause_at):
    ended(jobs, jobs.start("download", DOWNLOAD))
    wait_for_pause = pause_at(FIRST_FLOW)
    job = jobs.start("flow", FLOW)
    wait_for_pause()
    assert len(of_root(root)) > 2  # supervisor, command, and the decoder in a process of its own
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled"
    assert_nothing_runs(root)


@pytest.mark.ray
def test_cancel_with_workers_under_ray(jobs, root, pause_at):
    ended(jobs, jobs.start("download", DOWNLOAD))
    wait_for_pause = pause_at("preprocess.extract:tvl1_codes:hold:1")
    job = jobs.start("flow", {**FLOW, "cpus": ["1"]})
    wait_for_pause()
    family = descendants(jobs.find(job.id).process.pid)
    assert len(family) > 3
    jobs.cancel(job.id)
    job = ended(jobs, job)
    assert (job.state, job.exit_status) == ("cancelled", 1), jobs.log(job.id).text
    assert "SIGTERM" not in jobs.log(job.id).text  # Ray's C++ prints its stack under this name
    pids = {process.pid for process in family}
    wait_until(lambda: not pids & {process.pid for process in running()}, what="Ray outlived the job")


def test_command_that_does_not_stop_is_killed(root, pause_at, monkeypatch):
    jobs = Jobs(root, grace_s=0.3)
    wait_for_pause = pause_at(THIRD_CLIP)
    job = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    os.kill(jobs.find(job.id).process.pid, signal.SIGSTOP)  # as one that hangs in a system call
    jobs.cancel(job.id)
    job = ended(jobs, job)
    assert (job.state, job.exit_status) == ("cancelled", -signal.SIGKILL)
    assert "killed" in job.note
    assert_nothing_runs(root)


def test_only_a_running_job_is_cancelled(jobs):
    job = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    with pytest.raises(JobConflict, match="does not run: it is failed"):
        jobs.cancel(job.id)


def test_killed_command_leaves_nothing_behind(jobs, root, pause_at):
    wait_for_pause = pause_at("preprocess.trim:trim:hold:3")
    job = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    assert len(of_root(root)) > 2  # supervisor, command, and a child that knows nothing of it
    os.kill(jobs.find(job.id).process.pid, signal.SIGKILL)
    job = ended(jobs, job)
    assert (job.state, job.exit_status, job.note) == ("failed", -9, "killed by SIGKILL")
    assert_nothing_runs(root)


def test_job_that_ends_while_it_is_looked_at_is_not_lost(jobs, monkeypatch):
    job = jobs.start("verify", {"shards": ["nowhere"]})

    def gone(process):
        wait_until(lambda: Process.of(process.pid) != process)
        return False

    monkeypatch.setattr(Process, "is_there", property(gone))
    assert jobs.find(job.id).state == "failed"


def test_killed_supervisor_loses_the_job_and_stops_the_command(jobs, root, pause_at):
    wait_for_pause = pause_at(THIRD_CLIP)
    job = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    (supervisor,) = [process for process in of_root(root) if "supervise" in process.command]
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: jobs.find(job.id).state == "lost")
    assert "ended without a word" in jobs.find(job.id).note
    assert_nothing_runs(root)
    assert leftovers(root / "clips") == []
    with pytest.raises(JobConflict, match="does not run: it is lost"):
        jobs.cancel(job.id)


def test_one_job_of_a_command_at_a_time(jobs, pause_at):
    wait_for_pause = pause_at(THIRD_CLIP)
    first = jobs.start("download", DOWNLOAD)
    wait_for_pause()
    for again in (lambda: jobs.start("download", {**DOWNLOAD, "out": ["other"]}), lambda: jobs.resume(first.id)):
        with pytest.raises(JobConflict, match=f"job {first.id} runs `preprocess download`"):
            again()
    assert ended(jobs, jobs.start("verify", {"shards": ["nowhere"]})).state == "failed"
    jobs.cancel(first.id)
    assert ended(jobs, first).state == "cancelled"


def test_of_many_that_start_at_once_one_does(root, pause_at):
    pause_at(THIRD_CLIP)
    started, refused = [], []

    def start():
        try:
            started.append(Jobs(root).start("download", DOWNLOAD))
        except JobConflict as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(started), len(refused)) == (1, 7)


def test_output_in_use_is_told_by_the_command(jobs, root):
    (root / "clips").mkdir()
    with exclusive(root / "clips"):  # as a run on a terminal does
        job = ended(jobs, jobs.start("download", DOWNLOAD))
    assert (job.state, job.exit_status) == ("failed", 3)
    assert f"clips is in use by process {os.getpid()} on " in job.note


def test_root_that_takes_no_records_is_told(root):
    (root / ".kineflow-serve").touch()  # as good as a disk that is mounted read-only
    with pytest.raises(EnvironmentProblem, match=r"cannot make the folder .*; jobs need a ROOT to write to"):
        Jobs(root).start("verify", {"shards": ["nowhere"]})


def test_nothing_starts_that_is_not_recorded(root, monkeypatch):
    def full(self, folder):
        raise EnvironmentProblem("disk full")

    monkeypatch.setattr(Asked, "write", full)
    with pytest.raises(EnvironmentProblem, match="disk full"):
        Jobs(root).start("download", DOWNLOAD)
    assert_nothing_runs(root)
    assert not (root / "clips").exists()
    assert Jobs(root).newest(5).total == 0


def test_modules_in_root_are_data(jobs, root, monkeypatch):
    # an empty entry is the folder that one is in
    monkeypatch.setenv("PYTHONPATH", os.pathsep + os.environ.get("PYTHONPATH", ""))
    for name in ("preprocess", "av", "json"):
        (root / f"{name}.py").write_text("raise SystemExit(77)\n")
    assert ended(jobs, jobs.start("download", DOWNLOAD)).state == "finished"


def test_no_such_job(jobs, root):
    job = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    shutil.copytree(root / ".kineflow-serve" / "jobs" / job.id, root / "elsewhere")
    for name in (
        "0" * 16,
        "../../elsewhere",
        f"../jobs/{job.id}",
        f"{job.id}/.",
        job.id.upper(),
        "",
        "..",
        "0" * 15,
        f"{job.id}\n",
    ):
        with pytest.raises(NoSuchJob, match="there is no job"):
            jobs.find(name)


def test_damaged_job_hides_no_other(jobs, root):
    good = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    bad = ended(jobs, jobs.start("verify", {"shards": ["nowhere"]}))
    (root / ".kineflow-serve" / "jobs" / bad.id / "job.json").write_text('{"version": 1}')
    listing = jobs.newest(10)
    assert [job.id for job in listing.jobs] == [good.id]
    assert list(listing.damaged) == [bad.id]
    assert "lacks" in listing.damaged[bad.id]
    assert listing.total == 2
    with pytest.raises(InvalidInput, match="lacks"):
        jobs.find(bad.id)
    assert ended(jobs, jobs.start("verify", {"shards": ["nowhere"]})).state == "failed"


def test_start_that_was_broken_off_is_no_job(jobs, root):
    shutil.copytree(root / "videos", root / ".kineflow-serve" / "jobs" / ("a" * 16))
    assert jobs.newest(10).total == 0
    with pytest.raises(NoSuchJob):
        jobs.find("a" * 16)
