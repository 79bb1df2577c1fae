import os
import shutil
import subprocess
import sys
import time

import pytest

from preprocess.jobs.process import Process
from preprocess.jobs.record import LOG_NAME, Ended, Started
from preprocess.jobs.supervise import AGAIN_S, GO
from tests.preprocess.jobs.small_jobs import asked, wait_until


@pytest.fixture
def folder(tmp_path):
    asked(tmp_path, created=0.0, host="here", supervisor=Process.of(os.getpid())).write(tmp_path)
    return tmp_path


def supervise(folder, said):
    subprocess.run([sys.executable, "-m", "preprocess.jobs.supervise", folder], input=said, check=True)


def test_command_runs_when_it_is_told_to_go(folder):
    supervise(folder, GO)
    assert Started.read(folder).process.pid > 0
    assert (Ended.read(folder).exit_status, Ended.read(folder).was_cancelled) == (2, False)
    assert "nowhere" in (folder / LOG_NAME).read_text()


def test_how_it_ended_is_written_down_when_that_can_be_done(folder):
    in_the_way = folder / "ended.json"
    in_the_way.mkdir()
    command = [sys.executable, "-m", "preprocess.jobs.supervise", folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as supervisor:
        supervisor.stdin.write(GO)
        supervisor.stdin.close()
        wait_until(lambda: Started.read(folder) is not None and not Started.read(folder).process.is_there)
        time.sleep(AGAIN_S / 2)
        assert supervisor.poll() is None
        in_the_way.rmdir()
    assert Ended.read(folder).exit_status == 2


def test_command_goes_on_where_its_process_cannot_be_written_down(folder):
    (folder / "command.json").mkdir()  # as good as a disk that just became full
    supervise(folder, GO)
    assert Ended.read(folder).exit_status == 2


def test_root_that_was_deleted_is_not_made_anew(folder):
    command = [sys.executable, "-m", "preprocess.jobs.supervise", folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as supervisor:
        supervisor.stdin.write(GO)
        supervisor.stdin.close()
        wait_until(lambda: Started.read(folder) is not None)
        shutil.rmtree(folder)
    assert supervisor.returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize("said", [b"", b"g"])
def test_nothing_runs_when_who_asked_died_before_it_said_go(said, folder):
    supervise(folder, said)
    assert Ended.read(folder) is None
    assert not (folder / LOG_NAME).exists()
