import json
import os
from pathlib import Path

import pytest

from preprocess.errors import InvalidInput
from preprocess.jobs.process import Process
from preprocess.jobs.record import CancelAsked, Ended, Started

ENDED = Ended(at=12.5, exit_status=-9, was_cancelled=True)


def test_record_comes_back_as_it_was(tmp_path):
    started = Started(process=Process(pid=3, started=4, boot="x"))
    ENDED.write(tmp_path)
    started.write(tmp_path)
    assert Ended.read(tmp_path) == ENDED
    assert Started.read(tmp_path) == started
    assert Ended.time_ns(tmp_path) == (tmp_path / "ended.json").stat().st_mtime_ns


def test_record_that_is_not_there(tmp_path):
    assert CancelAsked.read(tmp_path) is None
    assert CancelAsked.time_ns(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no record of a job of this version"),
        ('{"version": 2}', "is no record of a job of this version"),
        ('{"version": 1}', "lacks at, exit_status, was_cancelled"),
        (json.dumps({"version": 1, "at": "1", "exit_status": 0, "was_cancelled": False}), "at should be float"),
        (json.dumps({"version": 1, "at": 1e308, "exit_status": 0, "was_cancelled": False}), "no calendar has"),
    ],
)
def test_damaged_record(content, message, tmp_path):
    (tmp_path / "ended.json").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        Ended.read(tmp_path)


def test_text_that_no_answer_can_carry_is_damage(tmp_path):
    Started(process=Process(pid=3, started=4, boot="\ud800")).write(tmp_path)
    with pytest.raises(InvalidInput, match=r"command\.json holds a text that is none \(surrogates"):
        Started.read(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_folder_or_pipe_where_a_record_should_be(tmp_path, make):
    make(tmp_path / "ended.json")
    with pytest.raises(InvalidInput, match="cannot read"):
        Ended.read(tmp_path)
