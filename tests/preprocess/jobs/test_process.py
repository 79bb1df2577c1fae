import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from preprocess.jobs.process import Process


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_process_that_runs(sleeper):
    process = Process.of(sleeper.pid)
    assert process.is_there
    assert process == Process.of(sleeper.pid)
    assert process.signal(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM


def test_process_that_has_ended_but_was_not_waited_for(sleeper):
    process = Process.of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_there
    assert not process.signal(signal.SIGTERM)
    sleeper.wait()
    assert Process.of(sleeper.pid) is None
    assert not process.signal(signal.SIGTERM)


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_other_process_with_its_number_is_left_alone(change, sleeper):
    other = replace(Process.of(sleeper.pid), **change)
    assert not other.is_there
    assert not other.signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_program_whose_name_looks_like_fields(tmp_path):
    program = tmp_path / "x) R 1 1"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as sleeper:
        process, other = Process.of(sleeper.pid), Process.of(os.getpid())
        sleeper.kill()
    # in ticks of a hundredth of a second, both since the boot
    assert 0 <= process.started - other.started < 100 * 86_400
