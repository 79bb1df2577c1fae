import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from preprocess.commands.status import status
from preprocess.console import CommandGroup
from preprocess.outcomes import Outcome
from preprocess.paths import exclusive
from preprocess.status.run_status import RunStatus
from tests.preprocess.clip_folders import clip, done, failed, write_manifest


def run(*arguments):
    return CliRunner().invoke(CommandGroup(commands=[status]), ["status", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    return write_manifest(tmp_path / "clips", [done(clip(0)), failed(clip(1), Outcome.BAD_MEDIA, "damaged")])


def test_status_shows_run_and_manifest(folder):
    RunStatus(folder, command="download", total=2, already={}).publish(state="finished")
    result = run(folder)
    assert result.exit_code == 0
    assert "state     finished: download, process " in result.output
    assert "          1   50.0 %  damaged (bad_media)\n" in result.output


def test_json_is_one_document(folder):
    document = json.loads(run(folder, "--json").output)
    assert (document["state"], document["run"], document["manifest"]["outcomes"]["done"]) == ("none", None, 1)


def test_watch_ends_with_the_run(folder):
    RunStatus(folder, command="download", total=2, already={}).publish(state="stopped")
    assert run(folder, "--watch").exit_code == 0


def test_ctrl_c_looks_away_without_a_word(folder):
    command = [sys.executable, "-c", "from preprocess.commands.status import status; status()", str(folder), "--watch"]
    with exclusive(folder):
        RunStatus(folder, command="download", total=2, already={}).publish(state="running")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
            assert " running: 0 of 2 clips" in watcher.stdout.readline()
            watcher.send_signal(signal.SIGINT)
            _, errors = watcher.communicate(timeout=30)
    assert (watcher.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "folder none does not exist; `preprocess download` and `preprocess flow` make them"),
        (["."], "neither a status nor a manifest"),
        ([".", "--json", "--watch"], "--json or --watch, not both"),
    ],
)
def test_wrong_use_exits_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
