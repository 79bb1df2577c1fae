import os

import pytest

from preprocess.metrics.sampling import OwnRun, sample_folder
from preprocess.paths import exclusive
from preprocess.status.run_status import STATUS_NAME, RunStatus


def publish(folder, *, state="running", clock=None):
    options = {} if clock is None else {"clock": clock}
    RunStatus(folder, command="download", total=10, already={}, **options).publish(state=state)


def test_a_run_of_another_process_that_died_is_stopped(tmp_path):
    with exclusive(tmp_path):
        publish(tmp_path)
        assert sample_folder(tmp_path, run="x").state == "running"
    found = sample_folder(tmp_path, run="x")
    assert (found.run, found.state, found.command) == ("x", "stopped", "download")


@pytest.mark.parametrize(("content", "state"), [(None, "none"), (b"{", "unreadable")])
def test_a_folder_without_a_status_that_can_be_read(tmp_path, content, state):
    if content is not None:
        (tmp_path / STATUS_NAME).write_bytes(content)
    for found in (sample_folder(tmp_path, run="x"), OwnRun(tmp_path, run="x").sample()):
        assert (found.state, found.status) == (state, None)
        assert found.free_bytes > 0


def test_own_run_is_what_this_process_publishes_from_now_on(tmp_path, monkeypatch):
    publish(tmp_path)  # as process 1 of an earlier container may have
    own = OwnRun(tmp_path, run="x")
    assert own.sample().state == "none"
    publish(tmp_path)
    assert (own.sample().state, own.sample().status.pid) == ("running", os.getpid())
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")  # where another run writes over it
    publish(tmp_path)
    monkeypatch.undo()
    assert own.sample().state == "none"


def test_own_run_does_not_touch_the_lock(tmp_path, monkeypatch):
    """A run that takes it in that moment would be told that the folder is in use."""
    monkeypatch.setattr("preprocess.status.run_view.fcntl.flock", None)
    publish(tmp_path)
    assert OwnRun(tmp_path, run="x").sample().state == "none"


def test_own_run_may_begin_before_its_folder_is_there(tmp_path):
    found = OwnRun(tmp_path / "none", run="x").sample()
    assert (found.state, found.free_bytes) == ("none", None)
