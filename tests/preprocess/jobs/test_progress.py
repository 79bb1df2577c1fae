import os

from preprocess.jobs.job import Job, JobState
from preprocess.jobs.process import Process
from preprocess.jobs.progress import progress_of
from preprocess.status.run_status import RunStatus


def test_outcomes_come_as_they_are_told(tmp_path):
    job = Job(
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
    (tmp_path / "clips").mkdir()
    status = RunStatus(tmp_path / "clips", command="download", total=9, already={})
    for outcome in ("unheard_of", "bad_media", "done", "unavailable", "done"):
        status.count(outcome, source="url")
    status.publish(state="running")
    progress = progress_of(job, root=tmp_path)
    assert (progress.finished, progress.total) == (5, 9)
    assert list(progress.outcomes.items()) == [("done", 2), ("unavailable", 1), ("bad_media", 1), ("unheard_of", 1)]
