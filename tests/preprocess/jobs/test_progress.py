import os
from dataclasses import replace

import pytest

from preprocess.jobs.job import Job, JobState
from preprocess.jobs.process import Process
from preprocess.jobs.progress import progress_of
from preprocess.status.run_status import RunStatus


@pytest.fixture
def job():
    return Job(
        id="0" * 16,
        command="download",
        options={"out": ("clips",)},
        line=("preprocess", "download"),
        state=JobState.RUNNING,
        note="",
        created=0.0,
        ended=None,
        exit_status=None,
        is_stopping=False,
        resumed_from=None,
        process=Process.of(os.getpid()),
    )


@pytest.fixture(autouse=True)
def _published(tmp_path):
    (tmp_path / "clips").mkdir()
    status = RunStatus(tmp_path / "clips", command="download", total=9, already={})
    for outcome in ("unheard_of", "bad_media", "done", "unavailable", "done"):
        status.count(outcome, source="url")
    status.publish(state="running")


def test_outcomes_come_as_they_are_told(job, tmp_path):
    progress = progress_of(job, root=tmp_path)
    assert (progress.finished, progress.total) == (5, 9)
    assert list(progress.outcomes.items()) == [("done", 2), ("unavailable", 1), ("bad_media", 1), ("unheard_of", 1)]


@pytest.mark.parametrize(
    "other",
    [
        {"process": None},
        {"process": replace(Process.of(os.getpid()), pid=1)},
        {"created": 1e11},  # the number was that of an earlier process
        {"options": {}},
        {"options": {"out": ("shards",)}},
    ],
)
def test_run_of_another_job_is_none_of_this(job, tmp_path, other):
    assert progress_of(replace(job, **other), root=tmp_path) is None
