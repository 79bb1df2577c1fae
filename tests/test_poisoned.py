"""Clips and moments that kill a worker: what they cost."""

import signal
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest

from preprocess.clip_source import FolderSource
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import DeviceDead, DeviceLost, EnvironmentProblem, WorkerDied
from preprocess.extract import extract_all
from preprocess.flow import BACKENDS
from preprocess.plan import make_plan
from preprocess.sharding import attributes_of, make_shard, make_shards
from preprocess.shards.index import Index
from preprocess.shards.verify import verify_shard
from preprocess.target import FolderTarget
from preprocess.trials import DEATHS, KILLED_REASON, Notes, Trials, run_shards
from tests.crash.commands import command
from tests.preprocess.conftest import clip_file, textured_frames, write_video


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    for i in range(4):
        write_video(folder / f"clip{i}.mp4", textured_frames(12, height=48, width=64, seed=i))
    return tmp_path / "clips"


@pytest.mark.ray
def test_clip_that_kills_its_worker_is_left_out_and_all_others_are_made(clips, tmp_path):
    options = ("--short-side", 48, "--clips-per-shard", 3, "--out", "out", "--cpus", 1)
    at = "preprocess.extract:_Job.compute_flow:poison:clip1"
    with command("preprocess", "flow", clips, *options, folder=tmp_path, at=at) as run:
        assert run.wait() == 1, run.log
        assert f"failed: clip1: {KILLED_REASON}" in run.log
    made = [verify_shard(tmp_path / "out" / info.name)[0] for info in Index.read(tmp_path / "out").shards]
    assert [key.decode() for head in made for key in head.clips.key] == ["clip0", "clip2", "clip3"]
    assert made[0].attributes.failed == {"clip1": KILLED_REASON}
    # the calls of the poisoned step: clip0 and the killer, the killer alone, then the two others; and clip3
    count = len((tmp_path / "calls" / "preprocess.extract-_Job.compute_flow").read_bytes())
    assert count == 2 + 1 + 2 + 1


class Shard:
    def __init__(self, name):
        self.name = name


def test_suspects_are_known_from_what_dead_workers_noted(clips):
    files = [clip_file(path, folder=clips) for path in sorted(clips.rglob("*.mp4"))]
    notes = Notes()
    trials = Trials("a.h5", notes=notes)
    list(trials.begun([(files[0], 0), (files[1], 0)]))  # the first worker dies with both
    assert (trials.suspects(), trials.killers()) == ({"clip0", "clip1"}, set())
    list(trials.begun([(files[0], 0)]))  # the second tries them alone, and dies with the first of them
    assert (trials.suspects(), trials.killers()) == ({"clip1"}, {"clip0"})
    list(trials.begun([(files[1], 0)]))
    trials.end(files[1])
    trials.end(files[1])
    assert (trials.suspects(), trials.killers()) == (set(), {"clip0"})
    notes.forget("a.h5")  # of a node that was lost
    assert (trials.suspects(), trials.killers()) == (set(), set())


def test_run_goes_on_while_killers_are_found(clips):
    files = [clip_file(path, folder=clips) for path in sorted(clips.rglob("*.mp4"))]
    tries = []

    def make(shard, tick, *, notes, helpers):
        trials = Trials(shard.name, notes=notes)
        left = [file for file in files if file.key not in trials.killers()]
        tries.append(len(left))
        if left[2:]:
            for _ in range(DEATHS):  # as `preprocess.workers` tries a task again by itself
                list(trials.begun([(left[0], 0)]))
            return WorkerDied("its worker process died")
        return "made"

    workers = WorkerConfig(workers=0)
    results = list(run_shards(make, [Shard("a.h5")], workers=workers, on_tick=lambda told: None))
    assert [result for _, result in results] == ["made"]
    assert tries == [4, 3, 2]


@pytest.mark.parametrize("helpers", [0, 2])
def test_gpu_that_fails_again_and_again_counts_against_no_clip(clips, tmp_path, monkeypatch, helpers):
    lost, gone = DeviceLost("the GPU failed"), EnvironmentProblem("no CUDA device is visible")
    failures, is_dead = [lost, lost, gone, gone], []

    def codes_of_clip(frames_THW, params, **_):
        if not failures:
            return np.full((len(frames_THW) - 1, 2, *frames_THW.shape[1:]), 128, np.uint8)
        if failures[0] is gone:
            is_dead.append(True)
        raise failures[0]

    def require_answer():
        if is_dead:
            raise DeviceDead("a GPU does not answer")

    gpu = replace(BACKENDS["opencv"], on_gpu=True, codes_of_clip=codes_of_clip, require_answer=require_answer)
    monkeypatch.setitem(BACKENDS, "failing", gpu)
    source, config = FolderSource(folder=clips), FlowConfig(short_side=48)
    plan = make_plan(source.clips(), config=config, backend="failing")
    make = partial(
        make_shard,
        plan.shards[0],
        source=source,
        target=FolderTarget(folder=tmp_path),
        notes=Notes(),
        attributes=attributes_of(plan, config, "failing"),
        config=config,
        backend="failing",
        helpers=helpers,
    )
    while failures:
        with pytest.raises(DeviceLost if failures[0] is lost else DeviceDead):
            make()
        failures.pop(0)
        is_dead.clear()
    assert make().failed == {}


def test_suspects_are_tried_before_the_others_and_alone(clips, tmp_path, monkeypatch):
    notes, calls = Notes(), []
    notes.begin("train-00000-of-00001.h5", "clip2")

    def noted(pairs, *arguments, helpers, **options):
        pairs = list(pairs)
        calls.append(([clip.key for clip, _ in pairs], helpers))
        return extract_all(pairs, *arguments, helpers=helpers, **options)

    monkeypatch.setattr("preprocess.trials.Notes", lambda: notes)
    monkeypatch.setattr("preprocess.sharding.extract_all", noted)
    config = FlowConfig(short_side=48)
    make_shards(clips, tmp_path / "out", config=config, workers=WorkerConfig(workers=0, helpers=2))
    assert calls == [(["clip2"], 0), (["clip0", "clip1", "clip3"], 2)]


def test_killer_is_found_anew_when_a_node_is_lost_with_what_was_known_of_it(clips, monkeypatch):
    (killer, *_) = [clip_file(path, folder=clips) for path in sorted(clips.rglob("*.mp4"))]
    tries = []

    def make(shard, tick, *, notes, helpers):
        trials = Trials(shard.name, notes=notes)
        tries.append(trials.killers())
        if tries[-1]:
            return "made"
        for _ in range(DEATHS):
            list(trials.begun([(killer, 0)]))
        return WorkerDied("its worker process died")

    class Pool:
        helpers = 0

        def hosted(self, kind):
            return kind()

        def run(self, function, supply, *, on_lost, **_):
            while shard := supply.take():
                if len(tries) == 1:  # the node of the second try
                    on_lost(shard)
                yield shard, function(shard, None)

    monkeypatch.setattr("preprocess.trials.worker_pool", lambda workers, **_: nullcontext(Pool()))
    config = WorkerConfig(workers=0)
    results = list(run_shards(make, [Shard("a.h5")], workers=config, on_tick=lambda told: None))
    assert [result for _, result in results] == ["made"]
    assert tries == [set(), set(), {killer.key}]


def test_decoder_that_is_killed_is_replaced(clips, tmp_path):
    options = ("--short-side", 48, "--out", "out", "--cpus", 0)
    at = "preprocess.media_process:_Child.ask:child:2"
    with command("preprocess", "flow", clips, *options, folder=tmp_path, at=at) as run:
        assert run.wait() == 0, run.log
    assert "4 clips" in run.log
    assert "failed" not in run.log
    with h5py.File(tmp_path / "out" / "train-00000-of-00001.h5") as file:
        assert len(file["clips/key"]) == 4
    assert signal.SIGKILL.name not in run.log
