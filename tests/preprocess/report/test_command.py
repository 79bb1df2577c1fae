import json
import signal
from fractions import Fraction

import pytest
from click.testing import CliRunner

from preprocess.cli import main
from preprocess.report.content import Report
from preprocess.sample import SampleConfig, make_sample
from preprocess.shards import ShardSet
from tests.preprocess.report.shard_sets import clip, write_set


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def shards(tmp_path):
    return write_set(tmp_path / "shards", {"train": [[clip("a"), clip("b", label=1)], [clip("c")]]})


def test_writes_the_page_and_its_json_in_the_current_folder(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(shards.iterdir())
    result = run("report", "shards")
    assert result.exit_code == 0
    assert "looked at: 3 of 3 clips in 2 shards\n" in result.output
    assert "wrote report.html (" in result.output
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert Report.read(tmp_path / "report.json").all.clips == 3
    assert sorted(shards.iterdir()) == before


def test_options_reach_the_report(shards, tmp_path):
    out = tmp_path / "pages" / "r.html"
    result = run("report", shards, "--out", out, "--clips", 2, "--frames", 3, "--per-class", 1, "--seed", 7)
    assert result.exit_code == 0
    sampling = json.loads(out.with_suffix(".json").read_text())["sampling"]
    assert sampling == {"clips": 2, "frames": 3, "per_class": 1, "seed": 7}


def test_request_to_terminate_is_heard_by_the_command_which_tells_its_workers(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.report.making.make_report", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    # the one that the command replaces, and puts back
    mine = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM is not handled"))
    try:
        result = run("report", shards, "--out", tmp_path / "r.html")
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert (result.exit_code, result.stderr.strip(), (tmp_path / "r.html").exists()) == (1, "Aborted!", False)


def test_a_damaged_shard_exits_1_and_is_named(shards, tmp_path):
    (shards / "train-00001-of-00002.h5").write_bytes(b"short")
    result = run("report", shards, "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert "damaged: train-00001-of-00002.h5: train-00001-of-00002.h5 has 5 bytes" in result.output
    assert "looked at: 2 of 2 clips in 1 shards\n" in result.output
    assert "1 of 2 shards cannot be read" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "index.json does not exist"),
        (("shards", "--clips", 0), "clips of a report is 1 to 100000, got 0"),
        (("shards", "--out", "shards/report.html"), "lies among the shards"),
        (("shards", "--out", "report.json"), "both the page and its JSON"),
        (("shards", "--workers", 0), "0 is not in the range"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(shards, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("report", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]
    assert not list(shards.glob("report*"))


def test_the_camera_explains_the_synthetic_kinetics(tmp_path):
    """Its motions are affine: from videos over TV-L1 and JPEG to the share."""
    few = SampleConfig(videos_per_class=1, val_per_class=0, fps=Fraction(6), duration_s=1, clip_start_s=0, clip_end_s=1)
    make_sample(tmp_path / "sample", config=few)
    clips = ("--source-dir", tmp_path / "sample" / "videos", "--out", tmp_path / "clips", "--workers", 0)
    assert run("download", tmp_path / "sample" / "list.csv", *clips).exit_code == 0
    shards = ("--out", tmp_path / "shards", "--cpus", 0, "--short-side", 96, "--fps", 6)
    assert run("flow", tmp_path / "clips", *shards).exit_code == 0
    assert len(ShardSet(tmp_path / "shards", "train")) == 8
    assert run("report", tmp_path / "shards", "--out", tmp_path / "r.html").exit_code == 0
    found = Report.read(tmp_path / "r.json").all
    assert found.camera.share > 0.95
    assert min(one.camera for one in found.classes) > 0.9
    assert found.stillness.still == 0
