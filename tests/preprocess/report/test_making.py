import dataclasses
import hashlib
import shutil

import cv2
import numpy as np
import pytest

from preprocess.errors import BadShard, InvalidInput, NoClips
from preprocess.report import making, processes
from preprocess.report.content import ClipName, Sampling
from preprocess.report.making import check_place, make_report
from preprocess.report.tables import read_tables
from preprocess.shards import Shard
from preprocess.shards.layout import SPLITS
from tests.preprocess.report.shard_sets import FIELD, HEIGHT, LABELS, WIDTH, clip, picture, uniform, write_set

STILL, RIGHT = uniform(0, 0), uniform(4, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three training clips in two shards and two of validation, one of them a training clip again."""
    fast = uniform(0, 0)
    fast[0, : HEIGHT // 2] = 30
    return write_set(
        tmp_path_factory.mktemp("shards"),
        {
            "train": [
                [clip("a", label=0, flow=[RIGHT] * 50), clip("b", label=1, flow=[STILL] * 40 + [RIGHT] * 10)],
                [clip("c", label=0, flow=[fast] * 50)],
            ],
            "val": [[clip("again", label=1, flow=[RIGHT] * 50, rgb=None), clip("d", label=-1, flow=[STILL] * 4)]],
        },
        failed={"lost_1": "no video", "lost_2": "<b>gone</b>"},
    )


@pytest.fixture(scope="module")
def report(folder):
    return make_report(folder).report


def test_counts_are_of_all_clips_and_of_each_split(report):
    assert (report.all.clips, report.all.frames, report.all.sampled) == (5, 4 * 51 + 5, 5)
    assert {split: (part.clips, part.frames) for split, part in report.splits.items()} == {
        "train": (3, 153),
        "val": (2, 56),
    }
    assert report.all.hours == pytest.approx(209 / 25 / 3600, rel=1e-5)
    assert report.shards == 3


def test_reports_of_one_index_are_of_the_same_data(report, folder):
    assert report.index_sha256 == hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()


def test_each_class_of_each_split_is_a_stratum_and_clips_without_a_label_are_the_last(folder):
    assert read_tables(folder).strata.tolist() == [0, 4, 0, 5, 13]


def test_labels_are_counted(report):
    balance = report.all.balance
    assert (balance.labels, balance.empty, balance.unlabelled) == (3, 1, 1)
    assert (balance.clips.smallest, balance.clips.largest) == (2, 2)
    classes = [(found.label, found.clips, found.sampled) for found in report.all.classes]
    assert classes == [(LABELS[0], 2, 2), (LABELS[1], 2, 2), (LABELS[2], 0, 0), (None, 1, 1)]
    assert report.splits["val"].classes[0].clips == 0


def test_a_class_without_clips_has_no_figures(report):
    empty = report.all.classes[2]
    assert (empty.rgb_bytes, empty.flow_bytes, empty.at_bound, empty.p99_px, empty.still, empty.camera) == (None,) * 6


def test_saturation_is_of_u_where_it_is_fast(report):
    # of class 0 half of the clips, of those half of the picture, and of u alone
    assert report.all.classes[0].at_bound == pytest.approx(1 / 8, abs=0.005)
    assert [found.p99_px for found in report.all.classes[:2]] == pytest.approx([20, 3.94], abs=0.2)
    assert report.splits["train"].motion.u.at_bound == pytest.approx(1 / 6, abs=0.01)
    assert report.splits["train"].motion.v.at_bound == 0
    assert report.splits["val"].motion.at_bound == 0
    assert report.all.motion.verdict == "too_low"


def test_speeds_are_counted_by_half_pixels(report):
    speeds = report.splits["val"].motion.speeds
    pixels = HEIGHT * WIDTH
    assert (speeds.first, speeds.step) == (0, 0.5)
    assert sum(speeds.counts) == (8 + 4) * pixels
    # 4 px is code 25, which is 3.94 px, give or take what JPEG does
    assert sum(speeds.counts[7:9]) == 8 * pixels
    assert speeds.counts[0] == 4 * pixels


def test_still_fields_and_stretches(report):
    still = report.splits["train"].stillness
    assert (still.clips, still.fields) == (3, 150)
    assert still.still == pytest.approx(40 / 150, rel=1e-5)
    assert still.longest_s == 40 / 25
    assert [found.still for found in report.all.classes] == [0, 0.4, None, 1]
    assert still.with_stretch == pytest.approx(1 / 3, rel=1e-5)
    assert (still.wholly, report.splits["val"].stillness.wholly) == (0, 0.5)
    # the four still fields of `d` are no stretch of a second
    assert [(found.clip.key, found.longest_s, found.still) for found in report.still_clips] == [("b", 1.6, 0.8)]


def test_the_longest_still_stretch_is_first(tmp_path):
    clips = [clip(f"{n}", flow=[STILL] * n + [RIGHT] * (54 - n) + [STILL] * 6) for n in (24, 25, 50, 40)]
    report = make_report(write_set(tmp_path, {"train": [clips]})).report
    assert [(found.clip.key, found.longest_s, found.still) for found in report.still_clips] == [
        ("50", 2.0, pytest.approx(56 / 60, rel=1e-5)),
        ("40", 1.6, pytest.approx(46 / 60, rel=1e-5)),
        ("25", 1.0, pytest.approx(31 / 60, rel=1e-5)),
    ]


def test_camera_is_all_of_a_shared_motion(report):
    assert report.splits["val"].camera.share == pytest.approx(1, abs=0.001)
    assert report.splits["val"].camera.clips == 1
    assert report.all.classes[3].camera is None
    # of the eight measured fields of `b` two come after the still ones; all that moves in `c` is at the bound
    assert report.splits["train"].camera.fields == 8 + 2


def test_equal_frames_are_counted(tmp_path):
    frames = [picture(number // 2) for number in range(8)]
    report = make_report(write_set(tmp_path, {"train": [[clip("a", rgb=frames)]]})).report
    assert report.all.stillness.duplicate == pytest.approx(4 / 7, rel=1e-5)


def test_failed_clips_are_named_with_their_reason(report):
    assert [(problem.name, problem.split, problem.reason) for problem in report.failed] == [
        ("lost_1", "train", "no video"),
        ("lost_2", "train", "<b>gone</b>"),
    ]


def test_parameters_are_those_of_the_shards(report):
    assert report.parameters["flow_bound"] == "20"
    assert report.parameters["flow_scale"] == "6.35"
    assert report.parameters["tvl1 tau"] == "0.25"


def test_sizes_are_means_of_each_clip(tmp_path):
    clips = [clip("a"), clip("b", flow=[RIGHT] * 3)]
    part = make_report(write_set(tmp_path, {"train": [clips]})).report.all
    means = [sum(map(len, one.rgb)) / len(one.rgb) for one in clips]
    assert (part.rgb_bytes.smallest, part.rgb_bytes.largest) == pytest.approx((min(means), max(means)), rel=1e-5)
    assert (part.rgb_sizes.first, sum(part.rgb_sizes.counts)) == (int(min(means)), 2)
    assert part.classes[0].rgb_bytes == pytest.approx(np.mean(means), rel=1e-5)
    means = [sum(map(len, one.flow)) / len(one.flow) for one in clips]
    assert (part.flow_bytes.smallest, part.flow_bytes.largest) == pytest.approx((min(means), max(means)), rel=1e-5)
    assert (part.flow_sizes.first, sum(part.flow_sizes.counts)) == (int(min(means)), 2)
    assert part.classes[0].flow_bytes == pytest.approx(np.mean(means), rel=1e-5)
    assert (part.lengths.smallest, part.lengths.largest) == (4, 8)
    assert (part.length_counts.first, part.length_counts.step, part.length_counts.counts) == (4, 1, (1, 0, 0, 0, 1))
    assert [(size.value, size.clips) for size in part.frame_sizes] == [("64x48", 2)]


def moving_dots(seed):
    dots = np.random.default_rng(seed).normal(0, 3, (2, HEIGHT // 8, WIDTH // 8)).astype(np.float32)
    return dots.repeat(8, 1).repeat(8, 2).reshape(FIELD)


def test_twins_are_exact_or_near_and_told_apart(tmp_path):
    frames = [picture(5) for _ in range(8)]
    recoded = [cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in frames]
    same = {"flow": [moving_dots(1)] * 7, "rgb": frames}
    # `b` and `c` have the same flow, but other frames
    train = [clip("a", **same), clip("b"), clip("c"), clip("near", flow=[moving_dots(2)] * 7, rgb=recoded)]
    plain = clip("plain", rgb=[np.full((HEIGHT, WIDTH, 3), 99, np.uint8)] * 8)
    train += [clip("other flow", flow=[moving_dots(3)] * 7, rgb=frames), plain]
    report = make_report(write_set(tmp_path, {"train": [train], "val": [[clip("a2", label=1, **same)]]})).report
    (exact,), (near,) = report.duplicates.exact, report.duplicates.near
    assert exact.clips == (
        ClipName(key="a", split="train", label=LABELS[0]),
        ClipName(key="a2", split="val", label=LABELS[1]),
    )
    assert exact.crosses_splits
    assert [name.key for name in near.clips] == ["a", "near", "other flow", "a2"]
    assert report.duplicates.hashed == 6


def test_exact_twins_are_not_near_ones_as_well(tmp_path):
    pictures = {"a": picture(5), "b": picture(5), "c": picture(9), "d": cv2.GaussianBlur(picture(9), (0, 0), 0.8)}
    clips = [clip(key, rgb=[one] * 8) for key, one in pictures.items()]
    splits = {split: [clip(f"e {split}", rgb=[picture(11)] * 8)] for split in ("train", "val")}
    splits["train"] += clips
    found = make_report(write_set(tmp_path, {split: [one] for split, one in splits.items()})).report.duplicates
    names = [[[name.key for name in group.clips] for group in groups] for groups in (found.exact, found.near)]
    assert names == [[["e train", "e val"], ["a", "b"]], [["c", "d"]]]  # across splits first
    assert [group.crosses_splits for group in found.exact] == [True, False]


def test_a_clip_unlike_its_class_is_first(tmp_path):
    clips = [clip(f"{number}", rgb=[picture(number)] * 8) for number in range(12)]
    odd = clip("odd", rgb=[picture(99, color=(220, 20, 20))] * 8, flow=[uniform(0, -6)] * 7)
    far = make_report(write_set(tmp_path, {"train": [[*clips, odd]]})).report.far
    assert far.judged == 13
    assert far.first[0].clip.key == "odd"
    assert 1 <= far.above == len(far.first) < 13
    assert min(found.score for found in far.first) > 3.5


def test_a_sample_says_of_how_many(folder):
    report = make_report(folder, sampling=Sampling(clips=2, frames=3)).report
    assert (report.all.clips, report.all.sampled, report.all.motion.clips, report.all.motion.fields) == (5, 2, 2, 6)
    assert sum(part.sampled for part in report.splits.values()) == 2
    assert report.all.rgb_bytes == make_report(folder).report.all.rgb_bytes


def test_equal_shards_and_options_give_equal_bytes_with_any_number_of_processes(folder, tmp_path, monkeypatch):
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    alone = make_report(folder, workers=1)
    monkeypatch.setattr(processes, "CLIPS_A_PROCESS", 1)
    together = make_report(copied, workers=2)
    assert together.report.to_json() == alone.report.to_json()
    assert together.page == alone.page


def test_every_measured_clip_is_told(folder):
    told = []
    make_report(folder, sampling=Sampling(clips=3), on_clip=told.append)
    assert told == [3, 3, 3]


@pytest.fixture
def with_damaged_frame(folder, tmp_path):
    """The first flow field and the middle frame of clip `c` are no JPEGs any more."""
    copied = shutil.copytree(folder, tmp_path / "shards")
    path = copied / "train-00001-of-00002.h5"
    shard, content = Shard(path), path.read_bytes()
    for jpeg in (shard.jpeg("flow", 0).tobytes(), shard.jpeg("rgb", 25).tobytes()):
        content = content.replace(jpeg, bytes(len(jpeg)), 1)
    path.write_bytes(content)
    return copied


def test_a_damaged_shard_is_named_and_the_rest_is_there(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "shards")
    (copied / "train-00001-of-00002.h5").write_bytes(b"short")
    report = make_report(copied).report
    assert [(problem.name, problem.split) for problem in report.damaged] == [("train-00001-of-00002.h5", "train")]
    assert "has 5 bytes" in report.damaged[0].reason
    assert str(tmp_path) not in report.damaged[0].reason
    assert (report.all.clips, report.all.classes[0].clips) == (4, 1)
    assert not report.is_whole


def test_a_clip_that_cannot_be_decoded_is_named_and_the_rest_is_there(with_damaged_frame):
    report = make_report(with_damaged_frame).report
    assert [(problem.name, problem.split) for problem in report.undecodable] == [("c", "train")]
    assert "flow frame 0 is no whole JPEG" in report.undecodable[0].reason
    assert (report.all.clips, report.all.sampled) == (5, 4)
    assert not report.is_whole


def test_a_clip_that_is_only_shown_is_named_too(with_damaged_frame):
    reasons = set()
    for seed in range(8):
        report = make_report(with_damaged_frame, sampling=Sampling(clips=1, seed=seed)).report
        (problem,) = report.undecodable
        reasons.add((report.all.sampled, problem.name, problem.reason.partition(" is no")[0]))
    assert reasons == {(0, "c", "flow frame 0"), (1, "c", "rgb frame 25")}


def test_clips_of_one_name_that_cannot_be_decoded_come_in_one_order(tmp_path):
    broken = [dataclasses.replace(clip("same"), rgb=[b"no JPEG"] * 8) for _ in range(4)]
    report = make_report(
        write_set(tmp_path, {split: [[one]] for split, one in zip(SPLITS, broken, strict=True)})
    ).report
    assert [problem.split for problem in report.undecodable] == sorted(SPLITS)


def test_no_shard_that_can_be_read_fails(tmp_path):
    folder = write_set(tmp_path, {"train": [[clip("a")]]})
    (folder / "train-00000-of-00001.h5").unlink()
    with pytest.raises(BadShard, match="none of 1 shards can be read"):
        make_report(folder)


def test_no_clip_fails(tmp_path):
    with pytest.raises(NoClips, match="has no clips"):
        make_report(write_set(tmp_path, {"train": [[]]}, failed={"a": "no video"}))


def test_no_place_among_the_shards_nor_for_two_files_of_one_name(tmp_path):
    with pytest.raises(InvalidInput, match="lies among the shards"):
        check_place(tmp_path / "pages" / ".." / "report.html", shards=tmp_path)
    with pytest.raises(InvalidInput, match=r"both the page and its JSON; use --out report\.html"):
        check_place(tmp_path / "report.json", shards=tmp_path / "shards")
    check_place(tmp_path / "report.html", shards=tmp_path / "shards")


def test_pictures_begin_with_the_first_of_each_class():
    sheets = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6])]
    assert making._first_of_each_first(sheets) == [1, 4, 5, 2, 6, 3]
