import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from preprocess.console import CommandGroup, LocalPath, PlaceType, printable, sigterm_interrupts
from preprocess.errors import BadMedia, EnvironmentProblem, InvalidInput


@pytest.mark.parametrize(("error", "status"), [(BadMedia, 1), (InvalidInput, 2), (EnvironmentProblem, 3)])
def test_error_becomes_a_line_and_a_status(error, status):
    @click.group(cls=CommandGroup)
    def main() -> None:
        pass

    @main.command()
    def fail() -> None:
        raise error("the value 7 is wrong\x1b[2J; use 8")

    result = CliRunner().invoke(main, ["fail"])
    assert result.exit_code == status
    assert result.output == "Error: the value 7 is wrong\\x1b[2J; use 8\n"


@pytest.mark.parametrize("kind", [LocalPath(), PlaceType()])
def test_folder_that_may_be_listed_and_not_entered_fails(kind, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.X_OK)
    with pytest.raises(click.BadParameter, match=rf"^{tmp_path} may not be entered by this user"):
        kind.convert(str(tmp_path), None, None)
    for fine in ("file", "none", "file/none"):
        kind.convert(str(tmp_path / fine), None, None)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_without_room_becomes_a_line_and_a_status(buffered):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", "from preprocess.console import CommandGroup as G; G('g')(['--help'])"]
        environment = os.environ | {"PYTHONUNBUFFERED": buffered}
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert ended.returncode == 3
    assert ended.stderr.startswith("Error: No space left on device, perhaps where the output goes; free")
    assert ended.stderr.count("\n") == 1


def test_sigterm_interrupts_its_block_and_is_as_before_after_it():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_printable_leaves_text_alone():
    assert printable("Zumba \u00e9t\u00e9\nline") == "Zumba \u00e9t\u00e9\nline"
