"""Tests of preprocess.folds."""

from collections import Counter

import numpy as np
import pytest

from preprocess.errors import InvalidInput
from preprocess.folds import FOLDS, SPLIT_FILES, read_folds
from preprocess.paths import inside
from preprocess.shards.layout import COLUMNS, SPLITS
from tests.preprocess.official_splits import write_hmdb51_splits, write_ucf101_splits


def test_ucf101(tmp_path):
    lists = {
        "trainlist01": ["YoYo/v_YoYo_g01_c01.avi 101"],
        "testlist01": ["Archery/v_Archery_g01_c01.avi"],
        "trainlist02": ["Archery/v_Archery_g01_c01.avi 3"],
        "testlist03": ["YoYo/v_YoYo_g01_c01.avi", "Archery/v_Archery_g01_c01.avi"],
    }
    folds = read_folds(write_ucf101_splits(tmp_path, **lists), dataset="ucf101")
    assert [(video.key, video.label, video.splits) for video in folds.videos] == [
        ("v_Archery_g01_c01", "Archery", ("test", "train", "test")),
        ("v_YoYo_g01_c01", "YoYo", ("train", "extra", "test")),
    ]
    assert folds.refused == ()


def test_hmdb51(tmp_path):
    lists = {
        "wave_test_split1": ["a_(b)!#&;_wave.avi 1", "c.avi 0"],
        "wave_test_split2": ["a_(b)!#&;_wave.avi 2"],
        "ride_bike_test_split3": ["d e.avi 2"],
    }
    folds = read_folds(write_hmdb51_splits(tmp_path, **lists), dataset="hmdb51")
    assert [(video.key, video.label, video.splits) for video in folds.videos] == [
        ("a_(b)!#&;_wave", "wave", ("train", "test", "extra")),
        ("c", "wave", ("extra", "extra", "extra")),
        ("d e", "ride_bike", ("extra", "extra", "test")),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("v_YoYo_g01_c01.avi", "not a line CLASS/VIDEO.avi"),
        ("YoYo/x/v_YoYo_g01_c01.avi 101", "not a line CLASS/VIDEO.avi"),
        ("../v_YoYo_g01_c01.avi 101", "not a line CLASS/VIDEO.avi"),
        ("YoYoYo/v_YoYo_g01_c01.avi 101", "not a line CLASS/VIDEO.avi"),
        ("YoYo/v_YoYo_g01_c01.avi 100", "YoYo has the number 101 in classInd.txt, 100 here"),
        ("YoYo/v_YoYo_g01_c01 101", "'v_YoYo_g01_c01' is not the file name of a video"),
        ("YoYo/v_\0.avi 101", "is not the file name of a video"),
        ("YoYo/.. 101", "is not the file name of a video"),
        ("Archery/v_YoYo_g02_c01.avi 3", "v_YoYo_g02_c01 is YoYo in an earlier line, Archery here"),
    ],
)
def test_line_of_ucf101_is_refused(tmp_path, line, reason):
    folder = write_ucf101_splits(tmp_path, trainlist01=["YoYo/v_YoYo_g02_c01.avi 101", line])
    folds = read_folds(folder, dataset="ucf101")
    assert [video.key for video in folds.videos] == ["v_YoYo_g02_c01"]
    (refused,) = folds.refused
    assert (refused.list_name, refused.line, refused.row) == ("trainlist01.txt", 2, (line,))
    assert reason in refused.reason


@pytest.mark.parametrize("line", ["x.avi", "x.avi 3", "x.avi 1 1", "wave/x.avi 1", "x 1"])
def test_line_of_hmdb51_is_refused(tmp_path, line):
    folds = read_folds(write_hmdb51_splits(tmp_path, wave_test_split2=[line]), dataset="hmdb51")
    assert [(row.list_name, row.line) for row in folds.refused] == [("wave_test_split2.txt", 1)]


def test_video_in_train_and_test_of_a_fold_is_taken_from_the_first_line(tmp_path):
    lists = {"trainlist02": ["YoYo/v_YoYo_g01_c01.avi 101"], "testlist02": ["YoYo/v_YoYo_g01_c01.avi"]}
    folds = read_folds(write_ucf101_splits(tmp_path, **lists), dataset="ucf101")
    assert folds.videos[0].splits == ("extra", "train", "extra")
    assert folds.refused[0].reason == "v_YoYo_g01_c01 is in train of fold 2 by an earlier line, in test here"


def test_missing_file_fails(tmp_path):
    folder = write_ucf101_splits(tmp_path)
    (folder / "testlist03.txt").unlink()
    with pytest.raises(InvalidInput, match=r"lacks 1 of 7 files: testlist03\.txt$"):
        read_folds(folder, dataset="ucf101")
    for name in ("testlist02.txt", "classInd.txt"):
        (folder / name).unlink()
    with pytest.raises(InvalidInput, match=r"lacks 3 of 7 files: classInd\.txt, testlist02\.txt, testlist03\.txt$"):
        read_folds(folder, dataset="ucf101")
    with pytest.raises(InvalidInput, match=r"lacks 153 of 153 files: brush_hair_test_split1\.txt, .*, \.\.\.$"):
        read_folds(folder, dataset="hmdb51")


def test_folder_that_is_not_there_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"folder of splits .* cannot be read: No such file"):
        read_folds(tmp_path / "none", dataset="hmdb51")


@pytest.mark.parametrize("line", ["1 Swimming", "one YoYo", f"{5000 * '9'} YoYo"])
def test_other_classes_fail(tmp_path, line):
    with pytest.raises(InvalidInput, match=rf"classInd\.txt has the line '{line[:60]}'"):
        read_folds(write_ucf101_splits(tmp_path, classInd=[line]), dataset="ucf101")


def test_line_that_is_no_text_costs_itself_only(tmp_path):
    folder = write_hmdb51_splits(tmp_path)
    (folder / "wave_test_split1.txt").write_bytes(b"caf\xe9.avi 1\na.avi 1\n")
    folds = read_folds(folder, dataset="hmdb51")
    assert ([video.key for video in folds.videos], [row.line for row in folds.refused]) == (["a"], [1])


def test_unknown_data_set_fails(tmp_path):
    with pytest.raises(InvalidInput, match="'kinetics400' has no official splits here; use one of ucf101, hmdb51"):
        read_folds(tmp_path, dataset="kinetics400")


REAL = {
    "ucf101": (13320, [(9537, 3783, 0), (9586, 3734, 0), (9624, 3696, 0)]),
    "hmdb51": (6766, [(3570, 1530, 1666)] * 3),
}


@pytest.fixture(params=SPLIT_FILES)
def real(request, shared_data):
    return request.param, read_folds(shared_data / "lists" / f"{request.param}_splits", dataset=request.param)


def test_real_splits_are_read_whole(real):
    dataset, folds = real
    count, by_fold = REAL[dataset]
    assert (len(folds.videos), folds.refused) == (count, ())
    for place, _ in enumerate(FOLDS):
        found = Counter(video.splits[place] for video in folds.videos)
        assert (found["train"], found["test"], found["extra"]) == by_fold[place]
        assert set(found) <= set(SPLITS)


def test_real_names_fit_paths_and_shards(real, tmp_path):
    _, folds = real
    for video in folds.videos:
        relative = f"{video.label}/{video.key}.avi"
        assert inside(tmp_path, relative) == tmp_path.resolve() / relative
    keys = [video.key for video in folds.videos]
    column = np.array([key.encode() for key in keys], dtype=COLUMNS["key"])
    assert [key.decode() for key in column] == keys
