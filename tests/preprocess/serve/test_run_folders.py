import time

import pytest

from preprocess.serve import run_folders, runs
from preprocess.serve.run_folders import Kind, find_runs
from preprocess.serve.runs import Runs


@pytest.fixture
def touch(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def found(root):
    return {run.name: run.kind for run in find_runs(root)}


def test_what_a_run_leaves_makes_a_folder_one(tmp_path, touch):
    touch("a/manifest.jsonl", "b/status.json", "c/list.json", "d/index.json", "e/plan.json", "f/val-00000-of-00001.h5")
    touch("x/video.mp4", "y/other.h5", "z/card.json")
    assert found(tmp_path) == {"a": "clips", "b": "clips", "c": "clips", "d": "shards", "e": "shards", "f": "shards"}


def test_a_flow_run_with_its_status_is_shards(tmp_path, touch):
    touch("a/status.json", "a/plan.json")
    assert found(tmp_path) == {"a": Kind.SHARDS}


def test_root_itself_and_three_folders_below(tmp_path, touch):
    touch("manifest.jsonl", "1/2/3/index.json", "1/2/3/4/index.json")
    assert found(tmp_path) == {".": "clips", "1/2/3": "shards"}


def test_links_and_hidden_folders_are_left_alone(tmp_path, touch, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "manifest.jsonl").touch()
    (tmp_path / "link").symlink_to(outside)
    touch(".kineflow-serve/jobs/status.json")
    assert found(tmp_path) == {}


def test_folders_of_classes_are_not_walked(tmp_path, touch, monkeypatch):
    touch("clips/manifest.jsonl", "clips/train/yoga/x.mp4", "clips/Val/x.mp4", "clips/more/manifest.jsonl")
    walked = []
    walk = run_folders._walk
    monkeypatch.setattr(run_folders, "_walk", lambda folder, depth: walked.append(folder.name) or walk(folder, depth))
    assert set(found(tmp_path)) == {"clips", "clips/more"}
    assert not {"train", "Val"} & set(walked)


def test_a_folder_of_runs_may_be_called_like_a_split(tmp_path, touch):
    touch("train/manifest.jsonl", "val/index.json")
    assert found(tmp_path) == {"train": "clips", "val": "shards"}


def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / "caf\udce9").mkdir()
    (tmp_path / "caf\udce9" / "manifest.jsonl").touch()
    (run,) = find_runs(tmp_path)
    assert run.name.isascii()
    assert run.folder.is_dir()


def test_ids_stay_and_differ(tmp_path, touch):
    touch("a/manifest.jsonl", "b/manifest.jsonl")
    first = [run.id for run in find_runs(tmp_path)]
    assert first == [run.id for run in find_runs(tmp_path)]
    assert len(set(first)) == 2


def test_folders_are_not_looked_for_all_the_time(tmp_path, touch, monkeypatch):
    touch("a/manifest.jsonl")
    looks = []
    monkeypatch.setattr(runs, "find_runs", lambda root: looks.append(root) or time.sleep(0.02) or find_runs(root))
    all_runs = Runs(tmp_path)
    for _ in range(5):
        assert all_runs.folder(all_runs.folders()[0].id).name == "a"
    assert all_runs.folder("nope") is None
    assert len(looks) == 1
    monkeypatch.setattr(runs, "FIND_EVERY_S", 0.0)
    again = Runs(tmp_path)
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        again.folders()
    assert len(looks) <= 3  # 20 ms of finding are paid by 400 ms of not doing so
