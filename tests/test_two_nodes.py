"""The commands on a cluster of several nodes: the same bytes as on one, whatever happens to a node."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.crash.commands import PATIENCE_S, ROOT, Command, command
from tests.crash.folders import contents, leftovers
from tests.crash.kill_points import calls
from tests.crash.small_runs import make_inputs
from tests.networks import joined_networks
from tests.ray_nodes import HEAD, SECOND, THIRD, TOKEN, cluster

pytestmark = pytest.mark.ray

FETCH, SHARD = "preprocess.trim:trim", "preprocess.sharding:write_shard"
OPTIONS = ("--short-side", 48, "--clips-per-shard", 1)
TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from i3d_train.train import train
from tests.i3d_train.small_shards import small_run
shards, out, workers, *address = sys.argv[1:]
config = small_run(Path(shards), Path(out), model="i3d")
config = replace(config, width=0.1, freeze_bn=True, dropout=0.0, lr=0.01, steps=2, checkpoint_every=2)
config = replace(config, batch_size=4 // max(int(workers), 1), workers=int(workers), address=(address or [None])[0])
print(train(config).step)
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two nodes; both count what they do."""
    wrap = f"{FETCH} {SHARD}"
    with cluster(tmp_path_factory.mktemp("nodes"), wrap=wrap) as made, made.joined(SECOND, wrap=wrap) as second:
        made.nodes.append(second)
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Inputs, and the folders `clips` and `shards` that one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    make_inputs(folder)
    download = ("download", folder / "list.csv", "--source-dir", folder / "videos", "--out", "clips", "--workers", 0)
    preprocess(*download, folder=folder)
    preprocess("flow", "clips", "--out", "shards", "--cpus", 0, *OPTIONS, folder=folder)
    return folder


def preprocess(*arguments, folder, status=0, inside=(), **environment):
    """Run a command to its end; what it printed."""
    run = Command("preprocess", *arguments, folder=folder, inside=inside, **{**TOKEN, **environment})
    try:
        assert run.wait() == status, run.log
        return run.log
    finally:
        run.close()


def download(alone, nodes, folder, *options, out="clips", staging=None):
    options = (*options, *on(nodes), "--out", out, *(("--staging", staging) if staging else ()))
    return preprocess("download", alone / "list.csv", *options, folder=folder)


def on(nodes, workers=2, option="--workers"):
    return ("--address", nodes.address, option, workers)


@pytest.mark.parametrize("source", [("--source-dir", "videos"), ("--mirror", "mirror")])
def test_download_gives_the_same_clips(nodes, alone, tmp_path, source):
    option, name = source
    download(alone, nodes, tmp_path, option, alone / name)
    made = contents(tmp_path / "clips")
    assert {path for path in made if path.endswith(".mp4")} == {
        path for path in contents(alone / "clips") if path.endswith(".mp4")
    }
    assert [entry.outcome for entry in made["manifest.jsonl"].values()] == ["done"] * 4
    assert leftovers(tmp_path / "clips") == []
    if name == "videos":
        expected = contents(alone / "clips")
        assert made == expected
        assert all(calls(node.calls, FETCH) for node in nodes.nodes)


def test_flow_gives_the_same_shards_and_both_nodes_make_some(nodes, alone, tmp_path):
    # paths that mean something else in the nodes' working folders
    shutil.copytree(alone / "clips", tmp_path / "clips")
    flow = ("flow", "clips", "--out", "shards", *on(nodes, option="--cpus"), *OPTIONS)
    preprocess(*flow, folder=tmp_path)
    assert contents(tmp_path / "shards") == contents(alone / "shards")
    assert leftovers(tmp_path / "shards") == []
    made = [calls(node.calls, SHARD) for node in nodes.nodes]
    assert all(made)
    assert "shards: 4 (0 by this run)" in preprocess(*flow, folder=tmp_path)
    assert [calls(node.calls, SHARD) for node in nodes.nodes] == made


def test_addresses_need_no_shared_folder(nodes, alone, tmp_path):
    # what a folder would hold for the driver is seen by no node
    store, staging = f"file://{tmp_path}/store", "/proc/self/cwd/staging"
    download(alone, nodes, tmp_path, "--source-dir", alone / "videos", out=f"{store}/clips", staging=staging)
    flow = ("flow", f"{store}/clips", "--out", f"{store}/shards", "--staging", f"{staging}2", *OPTIONS)
    preprocess(*flow, *on(nodes, option="--cpus"), folder=tmp_path)
    made = contents(tmp_path / "store" / "shards")
    del made["made.jsonl"]
    assert made == contents(alone / "shards")
    assert leftovers(tmp_path / "store") == []


def test_node_that_is_lost_in_mid_download_costs_time_only(nodes, alone, tmp_path):
    options = ("--source-dir", alone / "videos", "--out", "clips", *on(nodes, workers=3))
    run_that_loses_a_node(nodes, "download", alone / "list.csv", *options, at=FETCH, folder=tmp_path)
    assert contents(tmp_path / "clips") == contents(alone / "clips")
    assert leftovers(tmp_path / "clips") == []


def test_node_that_is_lost_in_mid_flow_costs_time_only(nodes, alone, tmp_path):
    flow = ("flow", alone / "clips", "--out", "shards", *OPTIONS, *on(nodes, workers=3, option="--cpus"))
    run_that_loses_a_node(nodes, *flow, at="preprocess.extract:tvl1_codes", folder=tmp_path)
    assert contents(tmp_path / "shards") == contents(alone / "shards")
    assert leftovers(tmp_path / "shards") == []


def test_training_gives_the_same_losses(nodes, alone, tmp_path):
    losses = {}
    for out, workers, address in (("one", "0", []), ("two", "2", [nodes.address])):
        command = [sys.executable, "-c", TRAIN, alone / "train", tmp_path / out, workers, *address]
        environment = {**os.environ, **TOKEN, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=environment, timeout=PATIENCE_S, cwd=tmp_path)
        records = [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        losses[out] = [record["loss"] for record in records if "loss" in record]
    assert len(losses["one"]) == 2
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)


@pytest.mark.timeout(900)  # on a machine with much else to do
def test_training_goes_on_after_a_node_is_lost(nodes, alone, tmp_path):
    options = ("--model", "i3d", "--width", 0.1, "--frames", 9, "--crop", 32, "--loader", "torch", "--threads", 1)
    options += ("--batch-size", 2, "--lr", 0.01, "--steps", 4, "--checkpoint-every", 2, "--validate-every", 2)
    train = ("i3d_train", "run", "--shards", alone / "train", "--device", "cpu", *options)
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", 3, "-m")
    with command(*torchrun, *train, "--out", "whole", folder=tmp_path) as undisturbed:
        assert undisturbed.wait() == 0, undisturbed.log
    step = "i3d_train.trainer:Trainer.train_step"
    # one worker on each of three nodes, until two of them wait for the gradients of the third
    with (
        nodes.joined(THIRD, wrap=step, at=f"{step}:pause:4") as third,
        command(*train, "--out", "lost", *on(nodes, workers=3), folder=tmp_path, **TOKEN) as run,
    ):
        third.wait_for_pause()
        third.lose()
        with nodes.joined(THIRD):
            assert run.wait() == 0, run.log
    (line,) = [line for line in run.log.splitlines() if "going on" in line]
    assert re.search(rf"lost a worker and node {THIRD} \(\w+\) \(.*\); going on from the checkpoint of step 2$", line)
    lost, whole = contents(tmp_path / "lost"), contents(tmp_path / "whole")
    assert [record["step"] for record in whole["metrics.jsonl"]] == [1, 2, 2, 3, 4, 4]
    assert lost["metrics.jsonl"] == whole["metrics.jsonl"]
    # their configurations differ in `out`, `resume` and `workers`
    assert lost["checkpoint-4.pt"] | {"config": {}} == whole["checkpoint-4.pt"] | {"config": {}}
    assert leftovers(tmp_path / "lost") == []


@pytest.mark.parametrize("given", [{"RAY_AUTH_TOKEN": "0" * 32}, {"RAY_AUTH_MODE": "disabled"}])
def test_wrong_or_missing_token_fails(nodes, alone, tmp_path, given):
    said = flow_fails(nodes, alone, tmp_path, **given)
    assert f"cannot start or reach the Ray cluster at {nodes.address}: its token is not the one given here" in said
    assert len(said.splitlines()) == 1


def test_folder_that_nodes_do_not_share_fails(nodes, alone, tmp_path):
    # the same name, and for each process another folder
    said = flow_fails(nodes, alone, tmp_path, out="/proc/self/cwd/out")
    for host in (HEAD, SECOND):
        assert re.search(rf"node {host} \(\w+\) does not see /proc/self/cwd/out as it is here", said)
    assert leftovers(tmp_path / "out") == []


def test_node_with_other_source_fails(nodes, alone, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ROOT / "preprocess", other / "preprocess", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "preprocess" / "trim.py").open("a") as file:
        file.write("# another\n")
    with nodes.joined(THIRD, path=other):
        said = flow_fails(nodes, alone, tmp_path)
    assert re.search(rf"Error: node {THIRD} \(\w+\) has its source \w+ \(here \w+\); install the same", said)
    assert f"node {SECOND}" not in said


def test_nodes_in_two_networks(alone, tmp_path):
    with (
        joined_networks() as (one, two),
        cluster(tmp_path / "nodes", host=one.host, inside=one.enter, wrap=SHARD) as made,
        made.joined(two.host, inside=two.enter, wrap=SHARD) as second,
    ):
        flow = ("flow", alone / "clips", "--out", "shards", *OPTIONS, *on(made, option="--cpus"))
        preprocess(*flow, folder=tmp_path, inside=one.enter)
        assert all(calls(node.calls, SHARD) for node in (*made.nodes, second))
    assert contents(tmp_path / "shards") == contents(alone / "shards")


def run_that_loses_a_node(nodes, *arguments, at, folder):
    """Run a command on three nodes, one of which is switched off when a task on it is at a point."""
    with nodes.joined(THIRD, wrap=at, at=f"{at}:pause:1") as third:
        run = Command("preprocess", *arguments, folder=folder, **TOKEN)
        try:
            third.wait_for_pause()
            third.lose()
            assert run.wait() == 0, run.log
        finally:
            run.close()
    assert "going on without a node" in run.log


def flow_fails(nodes, alone, folder, *, out="out", **given):
    flow = ("flow", alone / "clips", "--out", out, *OPTIONS, *on(nodes, option="--cpus"))
    return preprocess(*flow, folder=folder, status=3, **given)
