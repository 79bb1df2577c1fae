import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preprocess.clip_source import FolderSource
from preprocess.clips import find_clips
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia, InvalidInput
from preprocess.estimate import estimate
from preprocess.flow import BACKENDS
from preprocess.plan import make_plan
from preprocess.target import target_of
from tests.preprocess.conftest import textured_frames, write_video

CONFIG = FlowConfig(short_side=48, clips_per_shard=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Five good clips of two sizes and one that is no video."""
    folder = tmp_path_factory.mktemp("clips") / "train" / "yoga"
    folder.mkdir(parents=True)
    for index in range(5):
        height, width = (64, 48) if index == 1 else (48, 64)
        write_video(folder / f"clip_{index}.mp4", textured_frames(5 + index, height=height, width=width, seed=index))
    (folder / "broken.mp4").write_bytes(b"\x00" * 3000)
    return folder.parents[1]


@pytest.fixture
def planned(clips, tmp_path):
    """A folder that the clips have a plan in."""
    make_plan(find_clips(clips), config=CONFIG, backend="cpu").write(tmp_path / "shards")
    return tmp_path / "shards"


def test_estimate_counts_and_measures_and_writes_nothing(clips, tmp_path):
    found = estimate(
        clips, tmp_path / "shards", config=CONFIG, workers=WorkerConfig(workers=2), sample=6, pairs_a_clip=3
    )
    assert (found.clips, found.shards, found.measured_pairs) == (6, 3, 15)
    assert found.pairs == sum(range(4, 9))
    assert found.hours == pytest.approx(found.pairs / found.pairs_per_s / 2 / 3600)
    assert list(found.failed) == ["broken"]
    assert not (tmp_path / "shards").exists()


def test_estimate_is_without_clips_that_the_run_will_refuse_as_too_long(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.estimate.MAX_SECONDS", 0.3)  # clips of 8 and 9 frames have more
    found = estimate(clips, tmp_path / "shards", config=CONFIG, workers=WorkerConfig(workers=0), pairs_a_clip=1)
    assert (found.clips, found.pairs) == (6, 4 + 5 + 6)
    assert sum(reason.endswith("longer than 120 s; trim it first") for reason in found.failed.values()) == 2


def test_estimate_refuses_what_the_run_would(clips, planned):
    workers = WorkerConfig(workers=0)
    with pytest.raises(InvalidInput, match=r"labels of the clips are not in the given list, such as 'yoga'"):
        estimate(clips, planned, config=CONFIG, workers=workers, labels=["surfing"])
    other = FlowConfig(short_side=64, clips_per_shard=2)
    with pytest.raises(InvalidInput, match=r"short_side was 48, is 64\).*--replan"):
        estimate(clips, planned, config=other, workers=workers)
    assert estimate(clips, planned, config=other, workers=workers, replan=True).clips == 6


def test_estimate_of_broken_clips_fails(tmp_path):
    (tmp_path / "train" / "yoga").mkdir(parents=True)
    (tmp_path / "train" / "yoga" / "x.mp4").write_bytes(b"\x00")
    with pytest.raises(BadMedia, match=r"none of the 1 sampled clips can be decoded; the first: x\.mp4"):
        estimate(tmp_path, tmp_path / "out", config=CONFIG, workers=WorkerConfig(workers=0))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.json", None, r"store/shards was planned with something else \(short_side was 48, is 64\)"),
        ("plan.json", b"{", r"^memory://store/shards/plan\.json is damaged"),
        ("manifest.jsonl", b"", r"store/shards holds clips \(manifest\.jsonl\)"),
    ],
)
def test_estimate_refuses_what_an_address_holds_already(clips, planned, tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    source, target = FolderSource(folder=clips), target_of("memory://store/shards", staging=tmp_path / "new")
    with target.making(name) as path:
        path.write_bytes((planned / name).read_bytes() if content is None else content)
    with pytest.raises(InvalidInput, match=message):
        estimate(source, target, config=replace(CONFIG, short_side=64), workers=WorkerConfig(workers=0))


def test_estimate_on_a_gpu_is_of_whole_clips_at_once_and_leaves_out_what_is_compiled(clips, tmp_path, monkeypatch):
    sizes, threads = set(), set()

    def codes_of_clip(frames_THW, params, **_):
        threads.add(threading.get_ident())
        if frames_THW.shape[1:] not in sizes:
            time.sleep(2)
            sizes.add(frames_THW.shape[1:])
        return np.full((len(frames_THW) - 1, 2, *frames_THW.shape[1:]), 128, np.uint8)

    gpu = replace(BACKENDS["opencv"], on_gpu=True, codes_of_clip=codes_of_clip, clips_at_once=3)
    monkeypatch.setitem(BACKENDS, "fast", gpu)
    config = FlowConfig(short_side=48, clips_per_shard=2, backend="fast")
    workers = WorkerConfig(workers=1, gpus=1, helpers=2)
    found = estimate(clips, tmp_path / "shards", config=config, workers=workers, pairs_a_clip=1)
    assert found.measured_pairs == sum(range(4, 9))
    assert found.pairs_per_s > found.measured_pairs / 2
    assert len(threads) > 1
