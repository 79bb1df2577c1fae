import json
import shutil
from dataclasses import replace
from fractions import Fraction

import cv2
import h5py
import numpy as np
import pytest

from preprocess import sharding
from preprocess.clips import find_clips
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import BadMedia, EnvironmentProblem, InvalidInput
from preprocess.estimate import estimate
from preprocess.media_process import read_clip
from preprocess.sharding import make_shards, threads_a_task
from preprocess.shards import EncodedClip, Shard, ShardSet
from preprocess.shards.write import write_shard
from preprocess.status.run_status import RunState, ShardCount, Status
from preprocess.status.work import STAGES
from preprocess.target import FolderTarget
from tests.preprocess.conftest import textured_frames, write_video

CONFIG = FlowConfig(short_side=48, clips_per_shard=2)


@pytest.fixture(scope="module")
def made_clips(tmp_path_factory):
    """Five good clips of two sizes and one that is no video."""
    folder = tmp_path_factory.mktemp("clips")
    for index, (split, label) in enumerate(
        [("train", "yoga"), ("train", "surfing"), ("train", "yoga"), ("val", "yoga"), ("val", "surfing")]
    ):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        frames = textured_frames(5 + index, height=64 if index == 1 else 48, width=48 if index == 1 else 64, seed=index)
        write_video(folder / split / label / f"clip_{index}.mp4", frames)
    (folder / "train" / "yoga" / "broken.mp4").write_bytes(b"\x00" * 3000)
    return folder


@pytest.fixture
def clips(made_clips, tmp_path):
    return shutil.copytree(made_clips, tmp_path / "clips")


def run(clips, out, *, config=CONFIG, workers=0, **options):
    return make_shards(clips, out, config=config, workers=WorkerConfig(workers=workers), **options)


def contents(folder):
    """What readers may depend on."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in {".lock", "status.json"}}


@pytest.fixture
def shards(clips, tmp_path):
    run(clips, tmp_path / "shards")
    return tmp_path / "shards"


def test_report_and_files(clips, tmp_path):
    report = run(clips, tmp_path / "shards")
    assert (report.clips, report.shards, report.made) == (5, 3, 3)
    assert list(report.failed) == ["broken"]
    assert "not a video file" in report.failed["broken"]
    assert (report.work.flow_pairs, report.work.bytes) == (sum(range(4, 9)), report.bytes)
    names = ["index.json", "plan.json", "train-00000-of-00002.h5", "train-00001-of-00002.h5", "val-00000-of-00001.h5"]
    assert sorted(contents(tmp_path / "shards")) == names


def test_status_tells_of_the_run_and_of_those_before(clips, tmp_path):
    report = run(clips, tmp_path / "shards")
    status = Status.read(tmp_path / "shards")
    assert (status.command, status.state, status.total) == ("flow", RunState.FINISHED, 6)
    assert status.outcomes == {"done": 5, "bad_media": 1}
    assert (status.work.frames, status.work.flow_pairs) == (sum(range(5, 10)), sum(range(4, 9)))
    assert status.work.bytes == report.bytes
    assert min(status.work.seconds[stage] for stage in STAGES["flow"]) > 0
    (tmp_path / "shards" / "val-00000-of-00001.h5").unlink()
    run(clips, tmp_path / "shards")
    again = Status.read(tmp_path / "shards")
    assert (again.total, again.already, again.outcomes) == (2, {"done": 3, "bad_media": 1}, {"done": 2})
    assert again.shards == ShardCount(total=3, already=2, made=1)


def test_read_by_plain_h5py_and_cv2(shards, clips):
    """The contract, without a line of our reader."""
    index = json.loads((shards / "index.json").read_text())
    assert (index["format"], index["version"], index["labels"]) == ("kineflow-shard", 1, ["surfing", "yoga"])
    seen = {}
    for info in index["shards"]:
        with h5py.File(shards / info["name"], "r") as file:
            assert (file.attrs["fps_num"], file.attrs["fps_den"], file.attrs["short_side"]) == (25, 1, 48)
            assert (file.attrs["flow_scale"], file.attrs["flow_zero"], file.attrs["flow_bound"]) == (127 / 20, 128, 20)
            assert json.loads(file.attrs["tvl1"])["lambda_"] == 0.15
            assert file.attrs["complete"]
            assert len(file["clips/key"]) == info["clips"]
            for row in range(info["clips"]):
                column = {name: file[f"clips/{name}"][row] for name in file["clips"]}
                decoded = {}
                for stream in ("rgb", "flow"):
                    data, offset = file[f"{stream}/data"], file[f"{stream}/offset"][()]
                    first, count = column[f"{stream}_first"], column[f"{stream}_count"]
                    jpegs = [data[offset[i] : offset[i + 1]] for i in range(first, first + count)]
                    decoded[stream] = np.stack([cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED) for jpeg in jpegs])
                seen[column["key"].decode()] = column["label"], decoded
                height, width = column["height"], column["width"]
                assert decoded["rgb"].shape == (column["rgb_count"], height, width, 3)
                assert decoded["flow"].shape == (column["rgb_count"] - 1, 2 * height, width)
    assert {key: label for key, (label, _) in seen.items()} == {
        "clip_0": 1,
        "clip_1": 0,
        "clip_2": 1,
        "clip_3": 1,
        "clip_4": 0,
    }
    _, decoded = seen["clip_0"]
    assert len(decoded["rgb"]) == 5
    assert np.median(decoded["flow"][:, :48]) == pytest.approx(134, abs=1)  # 1 px to the right


def test_same_clips_same_bytes(clips, shards, tmp_path):
    run(clips, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(shards)


@pytest.mark.ray
def test_workers_make_the_same_bytes_and_report_every_clip(clips, shards, tmp_path):
    ticks = []
    run(clips, tmp_path / "again", workers=2, on_progress=ticks.append)
    assert contents(tmp_path / "again") == contents(shards)
    assert ticks == [6] * 6


def test_second_run_makes_nothing(clips, shards):
    before = contents(shards)
    report = run(clips, shards)
    assert (report.made, report.clips, list(report.failed)) == (0, 5, ["broken"])
    assert contents(shards) == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_damaged_shard_is_made_again_alone(clips, shards, damage, caplog):
    before = contents(shards)
    path = shards / "train-00001-of-00002.h5"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(before[path.name][:1000])
    else:
        content = bytearray(before[path.name])
        content[len(content) * 3 // 4] ^= 1
        path.write_bytes(content)
    assert run(clips, shards).made == 1
    assert contents(shards) == before
    assert damage == "missing" or "made again" in caplog.text


def test_shard_that_is_another_than_the_index_says_is_made_again(clips, shards, caplog):
    """It is sound by itself: its labels were changed, and its checksums with them."""
    before = contents(shards)
    path = shards / "val-00000-of-00001.h5"
    shard = Shard(path)
    rows = [
        EncodedClip(
            key=key.decode(),
            label=1 - int(shard.clips.label[row]),
            rgb=[shard.jpeg("rgb", int(shard.clips.rgb_first[row]) + i).tobytes() for i in range(count)],
            flow=[shard.jpeg("flow", int(shard.clips.flow_first[row]) + i).tobytes() for i in range(count - 1)],
            height=int(shard.clips.height[row]),
            width=int(shard.clips.width[row]),
            time_start=float(shard.clips.time_start[row]),
            time_end=float(shard.clips.time_end[row]),
        )
        for row, (key, count) in enumerate(zip(shard.clips.key, shard.clips.rgb_count.tolist(), strict=True))
    ]
    write_shard(path, rows, shard.attributes)
    assert run(clips, shards).made == 1
    assert contents(shards) == before
    assert "is not what index.json says" in caplog.text


def test_damaged_index_is_written_again(clips, shards, caplog):
    before = contents(shards)
    (shards / "index.json").write_text("{")
    assert run(clips, shards).made == 0
    assert contents(shards) == before
    assert "index.json is damaged" in caplog.text


def test_index_is_written_last(clips, shards, monkeypatch, tmp_path):
    made = []
    real = sharding.write_shard

    def failing(path, *arguments):
        if len(made) == 1:
            raise EnvironmentProblem("disk full")
        made.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(sharding, "write_shard", failing)
    with pytest.raises(EnvironmentProblem, match="disk full"):
        run(clips, tmp_path / "again")
    assert not (tmp_path / "again" / "index.json").exists()
    assert Status.read(tmp_path / "again").state is RunState.STOPPED
    monkeypatch.undo()
    assert run(clips, tmp_path / "again").made == 2
    assert contents(tmp_path / "again") == contents(shards)


def test_another_plan_is_refused_and_told(clips, shards):
    with pytest.raises(InvalidInput, match=r"short_side was 48, is 64\).*--replan"):
        run(clips, shards, config=FlowConfig(short_side=64, clips_per_shard=2))


def test_shards_do_not_go_where_the_clips_are(clips):
    (clips.parent / "link").symlink_to(clips)
    for work in (make_shards, estimate):
        with pytest.raises(InvalidInput, match="link holds the clips; choose another folder for the shards"):
            work(clips, clips.parent / "link", config=CONFIG, workers=WorkerConfig(workers=0))
    assert sorted(path.name for path in clips.iterdir()) == ["train", "val"]


def test_shards_do_not_go_where_other_clips_are(clips, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "manifest.jsonl").write_text("")
    for work in (make_shards, estimate):
        with pytest.raises(InvalidInput, match=r"others holds clips \(manifest\.jsonl\); choose another --out"):
            work(clips, tmp_path / "others", config=CONFIG, workers=WorkerConfig(workers=0), replan=True)
    assert {path.name for path in (tmp_path / "others").iterdir()} == {"manifest.jsonl", ".lock"}


def test_replan_drops_the_old_shards(clips, shards, monkeypatch):
    removed, remove = [], FolderTarget.remove
    monkeypatch.setattr(FolderTarget, "remove", lambda target, name: removed.append(name) or remove(target, name))
    run(clips, shards, config=FlowConfig(short_side=48), replan=True)
    assert removed[0] == "index.json"  # no reader may meet it without its shards
    assert sorted(contents(shards)) == ["index.json", "plan.json", "train-00000-of-00001.h5", "val-00000-of-00001.h5"]
    assert len(ShardSet(shards, "train")) == 3


def test_replan_without_room_drops_nothing(clips, shards, monkeypatch):
    before, freed = contents(shards), []

    def little(target, without):
        freed.extend(without)
        return 1000

    monkeypatch.setattr("preprocess.target.FolderTarget.free_bytes", little)
    with pytest.raises(EnvironmentProblem, match="1000 bytes free; the 2 shards to make are planned at"):
        run(clips, shards, config=FlowConfig(short_side=48), replan=True)
    assert contents(shards) == before
    assert sorted(freed) == sorted(name for name in before if name.endswith(".h5"))


def test_cluster_that_cannot_do_it_leaves_no_plan_and_drops_nothing(clips, shards, tmp_path):
    before, workers = contents(shards), WorkerConfig(workers=1, address="127.0.0.1:9")
    for out in (shards, tmp_path / "new"):
        with pytest.raises(EnvironmentProblem, match="cannot start or reach the Ray cluster"):
            make_shards(clips, out, config=FlowConfig(short_side=48), workers=workers, replan=True)
    assert contents(shards) == before
    assert contents(tmp_path / "new") == {}


def test_room_counts_what_is_deleted_first(shards):
    target, names = FolderTarget(folder=shards), [path.name for path in shards.glob("*.h5")]
    sizes = sum(path.stat().st_size for path in shards.glob("*.h5"))
    gained = target.free_bytes(without=[*names, "none.h5"]) - target.free_bytes()
    assert gained == pytest.approx(sizes, abs=10_000_000)  # others write on this disk too


def test_clip_that_is_gone_ends_the_run_and_is_had_again(clips, shards, tmp_path, monkeypatch):
    planned = find_clips(clips)
    monkeypatch.setattr("preprocess.clip_source.find_clips", lambda folder: planned)
    path = clips / "train" / "yoga" / "clip_2.mp4"
    path.rename(tmp_path / "away.mp4")
    with pytest.raises(EnvironmentProblem, match=r"yoga/clip_2\.mp4 is not there"):
        run(clips, tmp_path / "again")
    (tmp_path / "away.mp4").rename(path)
    run(clips, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(shards)


def test_failed_clips_are_tried_again_when_asked(clips, shards, tmp_path, monkeypatch):
    def failing(path, **options):
        if path.stem == "clip_2":
            raise BadMedia("not decoded within 600 s")
        return read_clip(path, **options)

    out = tmp_path / "again"
    with monkeypatch.context() as patched:
        patched.setattr("preprocess.extract.read_clip", failing)
        assert run(clips, out).failed.keys() == {"broken", "clip_2"}
    assert (run(clips, out).made, len(run(clips, out).failed)) == (0, 2)
    report = run(clips, out, retry_failed=True)
    assert (report.made, list(report.failed)) == (2, ["broken"])
    assert contents(out) == contents(shards)
    status = Status.read(out)
    assert (status.total, status.already, status.outcomes) == (4, {"done": 2}, {"done": 3, "bad_media": 1})


def test_given_labels(clips, tmp_path):
    run(clips, tmp_path / "shards", labels=["yoga", "juggling", "surfing"])
    assert ShardSet(tmp_path / "shards", "val").clips.label.tolist() == [0, 2]


@pytest.mark.parametrize(("workers", "tasks", "threads"), [(8, 3, 2), (8, 100, 1), (8, 1, 8), (0, 1, 1), (2, 0, 2)])
def test_few_shards_use_many_cores_too(workers, tasks, threads):
    assert threads_a_task(workers, tasks=tasks) == threads


def test_failures_stay_with_the_shard(clips, tmp_path):
    for number in range(200):  # more than fit with their whole reasons
        (clips / "train" / "yoga" / f"{number:0150}.mp4").touch()
    report = run(clips, tmp_path / "shards", config=replace(CONFIG, clips_per_shard=300))
    failed = Shard(tmp_path / "shards" / "train-00000-of-00001.h5").attributes.failed
    assert (len(failed), failed, report.clips) == (201, report.failed, 5)
    assert all(reason.startswith(key[:75]) for key, reason in failed.items())


@pytest.mark.parametrize("free", [1000, 0])
def test_full_disk_is_seen_before_the_start(clips, tmp_path, monkeypatch, free):
    monkeypatch.setattr("preprocess.target.FolderTarget.free_bytes", lambda target, without: free)
    with pytest.raises(
        EnvironmentProblem, match=rf"has {free} bytes free; the 3 shards to make are planned at [0-9.]+ KiB; free space"
    ):
        run(clips, tmp_path / "shards")
    assert not (tmp_path / "shards" / "plan.json").exists()  # it would stand in the way of a lower quality


def test_folder_that_cannot_be_made_fails(clips, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentProblem, match="cannot make the folder"):
        run(clips, tmp_path / "file" / "shards")


def test_lowest_frame_rate_is_within_the_bound_that_names_it(clips, tmp_path):
    config = replace(CONFIG, fps=Fraction("0.001"))  # below the float of that name
    assert [run(clips, tmp_path / "shards", config=config).made for _ in range(2)] == [3, 0]


def test_orientation_of_rgb_and_flow_agrees(shared_data, tmp_path):
    (tmp_path / "clips" / "train" / "segway").mkdir(parents=True)
    shutil.copy(shared_data / "codec" / "decord_video_90.mov", tmp_path / "clips" / "train" / "segway")
    run(tmp_path / "clips", tmp_path / "shards")
    shard_set = ShardSet(tmp_path / "shards", "train")
    frame = cv2.imdecode(shard_set.jpeg("rgb", 0, 0), cv2.IMREAD_COLOR)
    flow = cv2.imdecode(shard_set.jpeg("flow", 0, 0), cv2.IMREAD_UNCHANGED)
    assert frame.shape == (85, 48, 3)  # stored as 568x320, shown upright
    assert flow.shape == (170, 48)
