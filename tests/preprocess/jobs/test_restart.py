"""Who starts jobs may be killed: they go on, and the next one sees them."""

import json
import os
import signal
import subprocess
import sys

from preprocess.jobs.jobs import Jobs
from tests.crash.processes import running
from tests.preprocess.jobs.small_jobs import CLIPS, DOWNLOAD, ended, wait_until

START = """
import json, sys, time
from pathlib import Path
from preprocess.jobs.jobs import Jobs

jobs = Jobs(Path(sys.argv[1]))
early = jobs.start("verify", {"shards": ["nowhere"]})
while jobs.find(early.id).state == "running":
    time.sleep(0.02)
print(json.dumps([early.id, jobs.start("download", json.loads(sys.argv[2])).id]), flush=True)
time.sleep(600)
"""


def test_jobs_outlive_who_started_them(root, pause_at):
    wait_for_pause = pause_at("preprocess.trim:trim:pause:3")
    arguments = [sys.executable, "-c", START, str(root), json.dumps(DOWNLOAD)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, start_new_session=True) as server:
        early, late = json.loads(server.stdout.readline())
        wait_for_pause()
        # all that a terminal, or a supervisor of services, would kill with it
        os.killpg(server.pid, signal.SIGKILL)
    jobs = Jobs(root)
    assert {job.id: job.state for job in jobs.newest(10).jobs} == {late: "running", early: "failed"}
    assert jobs.find(early).exit_status == 2
    process = jobs.find(late).process
    assert process.is_there
    assert jobs.cancel(late).is_stopping
    assert ended(Jobs(root), jobs.find(late)).state == "cancelled"
    wait_until(lambda: process.pid not in {one.pid for one in running()})


def test_job_that_ends_while_nobody_looks(root):
    script = START.replace("time.sleep(600)", "")
    arguments = [sys.executable, "-c", script, str(root), json.dumps(DOWNLOAD)]
    said = subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout
    job = ended(Jobs(root), Jobs(root).find(json.loads(said)[1]))
    assert (job.state, job.exit_status) == ("finished", 0)
    assert f"{CLIPS} done" in Jobs(root).log(job.id).text
