"""Jobs on a synthetic set that end within seconds, wait at a point of theirs, or have ended long ago."""

import time
from collections.abc import Callable
from pathlib import Path

from preprocess.jobs.job import Job
from preprocess.jobs.jobs import Jobs
from preprocess.jobs.process import Process
from preprocess.jobs.record import LOG_NAME, Asked, Ended
from preprocess.sample import SampleConfig, make_sample

ROOT = Path(__file__).parents[3]
PATIENCE_S = 120.0
DOWNLOAD = {"lists": ["list.csv"], "source-dir": ["videos"], "out": ["clips"], "workers": ["0"]}
FLOW = {"clips": ["clips"], "out": ["shards"], "cpus": ["0"], "short-side": ["32"], "clips-per-shard": ["2"]}
CLIPS = 8
"""That the synthetic set has: one for each of its classes."""


def make_root(folder: Path) -> Path:
    """A folder with a list and its videos."""
    make_sample(folder, config=SampleConfig(videos_per_class=1, val_per_class=0, width=48, height=32))
    return folder


def wait_until(is_so: Callable[[], bool], *, patience_s: float = PATIENCE_S, what: str = "") -> None:
    """Until something is so; fails when that takes too long."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ended(jobs: Jobs, job: Job) -> Job:
    """The job when it no longer runs."""
    wait_until(lambda: jobs.find(job.id).state != "running", what=jobs.log(job.id).text)
    return jobs.find(job.id)


def asked(root: Path, *, created: float, host: str, supervisor: Process) -> Asked:
    """What a job that verifies no shards was asked for."""
    return Asked(
        command="verify",
        options={"shards": ("nowhere",)},
        arguments=("--", "nowhere"),
        root=str(root),
        created=created,
        resumed_from=None,
        grace_s=1.0,
        host=host,
        supervisor=supervisor,
    )


def past_job(root: Path, job_id: str, *, has_ended: bool = True) -> Path:
    """The folder of a job that has ended, or whose supervisor is gone, without running anything."""
    folder = root / ".kineflow-serve" / "jobs" / job_id
    nobody = Process(pid=1, started=0, boot="another one")
    asked(root, created=1e9, host="elsewhere", supervisor=nobody).write(folder)
    (folder / LOG_NAME).write_text("Error: nowhere is no folder\n")
    if has_ended:
        Ended(at=1e9 + 5, exit_status=2, was_cancelled=False).write(folder)
    return folder


def paused_at(point: str, *, folder: Path) -> dict[str, str]:
    """Environment in which a command waits at a point of tests/crash/kill_points.py; `folder/paused` tells when."""
    folder.mkdir(exist_ok=True)
    return {
        "CRASH_AT": point,
        "CRASH_CALLS": str(folder),
        "CRASH_WRAP": ":".join(point.split(":")[:2]),
        "PYTHONPATH": f"{ROOT / 'tests' / 'crash' / 'site'}:{ROOT}",
    }
