import errno
import json
import os
import socket
import time
from dataclasses import replace

import pytest

from preprocess.errors import InvalidInput
from preprocess.outcomes import Outcome
from preprocess.paths import exclusive
from preprocess.status.run_status import STATUS_NAME, RunStatus
from preprocess.status.run_view import Lookout, look_at_lock, read_state
from tests.preprocess.clip_folders import clip, done, failed, write_manifest


@pytest.fixture
def folder(tmp_path):
    entries = [done(clip(0)), done(clip(1)), failed(clip(2), Outcome.UNAVAILABLE, "private")]
    return write_manifest(tmp_path / "clips", entries)


def publish(folder, *, state="running", **fields):
    RunStatus(folder, command="download", total=10, already={}).publish(state=state)
    path = folder / STATUS_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_run_that_holds_the_folder_runs(folder):
    with exclusive(folder):
        publish(folder)
        view = Lookout(folder).look()
    assert (view.state, view.is_alive, view.goes_on, view.notes) == ("running", True, True, ())


def test_counts_are_of_the_manifest(folder):
    view = Lookout(folder).look()
    assert (view.state, view.goes_on) == ("none", False)
    assert view.outcomes == {"done": 2, "unavailable": 1}
    assert view.missing == (("unavailable", "private", 1),)


def test_a_killed_run_is_stopped_whatever_it_says(folder):
    with exclusive(folder):
        publish(folder)
    view = Lookout(folder).look()
    assert (view.state, view.is_alive, view.goes_on) == ("stopped", False, False)
    assert view.left_s is None
    assert view.notes == ("it ended without saying so: killed, or the machine went down",)


def test_an_ended_run_needs_no_note(folder):
    publish(folder, state="finished")
    view = Lookout(folder).look()
    assert (view.state, view.goes_on, view.notes) == ("finished", False, ())


def test_of_a_run_on_another_machine_only_its_last_sign_is_known(folder):
    publish(folder, host="elsewhere", updated=time.time() - 40)
    view = Lookout(folder).look()
    assert (view.state, view.is_alive, view.goes_on) == ("running", None, True)
    assert view.notes[0].endswith("cannot be seen from here; last sign of life 40 s ago")


def test_a_run_that_is_silent_is_said_to_be(folder):
    with exclusive(folder):
        publish(folder, updated=time.time() - 90)
        assert Lookout(folder).look().notes == ("it has published nothing for 90 s",)


@pytest.mark.parametrize("state", ["running", "finished"])
def test_the_next_run_is_not_taken_for_the_last_one(folder, state):
    publish(folder, state=state, pid=os.getpid() + 1)
    with exclusive(folder):
        view = Lookout(folder).look()
    assert (view.state, view.is_alive) == ("stopped" if state == "running" else state, False)
    assert view.goes_on
    assert f"process {os.getpid()} on {socket.gethostname()} holds the folder now" in view.notes[0]


def test_a_run_that_has_published_nothing_yet_is_about_to(tmp_path):
    with exclusive(tmp_path):
        view = Lookout(tmp_path).look()
    assert (view.state, view.is_alive, view.goes_on, view.left_s) == ("none", False, True, None)
    (note,) = view.notes
    assert note == f"process {os.getpid()} on {socket.gethostname()} holds the folder and has published nothing yet"
    document = view.to_document()
    assert (document["format"], document["version"], document["run"]) == ("kineflow-run", 1, None)


def test_a_run_at_its_end_is_not_waited_for(folder):
    with exclusive(folder):
        publish(folder, state="finished")
        view = Lookout(folder).look()
        assert (view.state, view.is_alive, view.goes_on) == ("finished", True, False)
        (folder / ".lock").write_text("")  # held, and who holds it is not written down yet
        assert not Lookout(folder).look().goes_on


@pytest.mark.parametrize("trace", ["finished", "{"])
def test_one_trace_of_a_run_is_enough(tmp_path, trace):
    publish(tmp_path, state="finished")
    if trace == "{":
        (tmp_path / STATUS_NAME).write_text(trace)
    assert Lookout(tmp_path).look().outcomes == {}


def test_looking_does_not_take_the_lock_away(folder):
    with exclusive(folder):
        assert look_at_lock(folder).is_held
        assert look_at_lock(folder).is_held
    assert look_at_lock(folder).is_held is False
    with exclusive(folder):
        pass


@pytest.mark.parametrize("kind", ["a link", "no locks"])
def test_a_lock_that_cannot_be_asked_leaves_open_whether_it_runs(folder, tmp_path, monkeypatch, kind):
    publish(folder)
    if kind == "a link":
        (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / ".lock").touch()
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    view = Lookout(folder).look()
    assert (view.state, view.is_alive, view.goes_on) == ("running", None, True)


def test_state_without_the_manifest(folder):
    assert read_state(folder) == (None, "none")
    with exclusive(folder):
        publish(folder)
        assert read_state(folder)[1] == "running"
    status, state = read_state(folder)
    assert (status.state, state) == ("running", "stopped")
    (folder / STATUS_NAME).write_bytes(b"{")
    with pytest.raises(InvalidInput, match="is not JSON"):
        read_state(folder)


def test_damaged_status_is_noted_and_the_manifest_shown(folder):
    (folder / STATUS_NAME).write_bytes(b"")
    view = Lookout(folder).look()
    assert "is not JSON" in view.notes[0]
    assert "what follows, if anything, is from the manifest alone" in view.notes[0]
    assert view.outcomes == {"done": 2, "unavailable": 1}


def test_end_comes_nearer_between_two_publications(folder):
    with exclusive(folder):
        publish(folder, eta_s=100.0)
        view = Lookout(folder).look()
    assert replace(view, now=view.status.updated + 30).left_s == 70
    assert replace(view, now=view.status.updated + 130).left_s == 0


def test_document_is_json_of_epoch_seconds_and_counts(folder):
    publish(folder, state="finished")
    document = json.loads(json.dumps(Lookout(folder).look().to_document()))
    assert document["run"]["updated"] == pytest.approx(time.time(), abs=60)
    assert document["manifest"] == {
        "outcomes": {"done": 2, "unavailable": 1},
        "missing": [{"outcome": "unavailable", "cause": "private", "clips": 1}],
    }


def test_no_folder_fails(tmp_path):
    with pytest.raises(InvalidInput, match="none does not exist"):
        Lookout(tmp_path / "none").look()


def test_folder_without_a_trace_of_a_run_fails(tmp_path):
    with pytest.raises(InvalidInput, match="neither a status nor a manifest"):
        Lookout(tmp_path).look()
