"""Tests of i3d_train.commands.evaluate."""

import pytest
from click.testing import CliRunner

from i3d_train.cli import main
from i3d_train.results import read_results
from tests.i3d_train.small_results import random_answers, written
from tests.i3d_train.small_weights import small_network, write_small


def invoke(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    return [written(folder / f"fold{fold}", random_answers(fold), folds=(fold,)) for fold in (1, 2, 3)]


@pytest.fixture(scope="module")
def rival(tmp_path_factory):
    return written(tmp_path_factory.mktemp("rival"), random_answers(4), folds=(1,))


def test_shards_are_scored_into_a_folder(shards, tmp_path):
    weights = write_small(tmp_path / "w.safetensors", small_network("i3d", stream="rgb"), model="i3d")
    status, shown, _ = invoke(
        *("--shards", shards, "--weights", weights, "--frames", 9, "--crop", 32, "--windows", 2, "--crops", 3),
        *("--device", "cpu", "--loader", "torch", "--threads", 1, "--out", tmp_path / "out", "--dataset", "gray"),
    )
    (found,) = read_results(tmp_path / "out")
    assert status == 0
    assert shown.splitlines()[0].startswith(f"top-1 {found.top1:.4f}, top-5 1.0000, mean per class ")
    assert (found.tested.dataset, found.tested.views) == ("gray", 6)
    assert f"wrote {tmp_path / 'out'}" in shown


def test_fuse_prints_and_writes_all_four(tmp_path):
    rgb = written(tmp_path / "rgb", random_answers(0))
    flow = written(tmp_path / "flow", random_answers(1), stream="flow")
    status, shown, _ = invoke("--fuse", rgb, flow, "--out", tmp_path / "both")
    assert status == 0
    assert "i3d both, sum of logits on ucf101 test, fold 1\n" in shown
    assert [one.tested.fusion for one in read_results(tmp_path / "both")] == [None, None, "mean", "sum"]
    assert "| (e) Two-Stream I3D |" in (tmp_path / "both" / "results.md").read_text()


def test_mean_averages_folds(folds, tmp_path):
    status, shown, _ = invoke("--mean", *folds, "--out", tmp_path / "mean")
    (found,) = read_results(tmp_path / "mean")
    assert status == 0
    assert shown.startswith("i3d rgb on ucf101 test, mean of folds 1, 2, 3\n")
    assert found.top1 == pytest.approx(sum(read_results(fold)[0].top1 for fold in folds) / 3)


def test_table_puts_networks_on_one_page(folds, tmp_path):
    c3d = written(tmp_path / "c3d", random_answers(9), model="c3d")
    status, _, _ = invoke("--table", folds[0], c3d, "--out", tmp_path / "table")
    page = (tmp_path / "table" / "results.md").read_text()
    assert status == 0
    assert page.index("(b) 3D-ConvNet") < page.index("(e) Two-Stream I3D")


def test_table_takes_a_fusion_and_what_it_was_made_of(tmp_path):
    rgb = written(tmp_path / "rgb", random_answers(0))
    flow = written(tmp_path / "flow", random_answers(1), stream="flow")
    invoke("--fuse", rgb, flow, "--out", tmp_path / "both")
    status, shown, _ = invoke("--table", rgb, flow, tmp_path / "both")
    assert status == 0
    assert shown.count("i3d rgb on ") == shown.count("i3d flow on ") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--shards is missing"),
        (["FOLD"], "are put together by --fuse, --mean or --table; add one"),
        (["--mean"], "--mean needs results; give folders that `i3d_train evaluate --out` wrote"),
        (["--fuse", "FOLD"], "--fuse takes two folders of results, rgb and flow, got 1"),
        (["--mean", "FOLD", "FOLD"], "fold 1 of i3d rgb comes twice"),
        (["--fuse", "FOLD", "--mean", "FOLD"], "--fuse and --mean put results together in different ways; give one"),
        (["--mean", "FOLD", "--split", "val"], "--mean puts written results together; leave --split out"),
        (["--mean", "FOLD", "--most-wrong", "3"], "--mean puts written results together; leave --most-wrong out"),
        (["--fuse", "FOLD", "FOLD", "--most-wrong", "-1"], "most_wrong must be at least 0, got -1"),
        (["--mean", "FOLD", "--out", "FOLD"], "is one of the results to read; write to another folder"),
        (["--table", "FOLD", "--out", "FOLD/results.json/.."], "is one of the results to read"),
        (["--table", "FOLD", "RIVAL"], "two results are of i3d rgb on ucf101 test, fold 1: "),
    ],
)
def test_what_makes_no_sense_fails(arguments, message, folds, rival):
    status, _, log = invoke(
        *(argument.replace("FOLD", str(folds[0])).replace("RIVAL", str(rival)) for argument in arguments)
    )
    assert status == 2
    assert log.startswith("Error: ")
    assert message in log
    assert len(log.splitlines()) == 1
