"""Tests of preprocess.labels."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.errors import InvalidInput
from preprocess.labels import DATASETS, KINETICS, canonical, dataset_of, label_table, nearest, read_label_file

COUNTS = {"kinetics400": 400, "kinetics600": 600, "kinetics700": 700, "ucf101": 101, "hmdb51": 51}
PUBLISHED = {
    "kinetics400": "label_map_k400_deepmind.txt",
    "kinetics600": "label_map_k600_deepmind.txt",
    "kinetics700": "mmaction2_label_map_k700.txt",
    "ucf101": "mmaction2_label_map_ucf101.txt",
    "hmdb51": "mmaction2_label_map_hmdb51.txt",
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_tables_are_whole(dataset):
    table = label_table(dataset)
    assert len(table) == len(set(table)) == COUNTS[dataset]
    assert all(label == label.strip() and label.isprintable() and label for label in table)


@pytest.mark.parametrize("dataset", DATASETS)
def test_tables_are_the_published_ones(dataset, shared_data):
    published = shared_data / "lists" / PUBLISHED[dataset]
    assert label_table(dataset) == tuple(published.read_text().splitlines())


def test_ucf101_is_in_the_order_of_its_own_class_numbers(shared_data):
    lines = (shared_data / "lists" / "ucf101_splits" / "classInd.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines] == list(label_table("ucf101"))


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_two_labels_of_a_table_meet(dataset):
    table = label_table(dataset)
    # without the exact spelling to hold on to, each still finds itself
    assert [canonical(f" {label.upper()}_", table) for label in table] == list(table)


@pytest.mark.parametrize("dataset", KINETICS)
@pytest.mark.parametrize(
    "respell",
    [
        str.lower,
        str.title,
        lambda label: label.replace(" ", "_"),
        lambda label: label.replace(" ", "  "),
        lambda label: f'"{label}"',
        lambda label: label.replace(" ", "_").replace("'", "").replace("(", "").replace(")", ""),
    ],
    ids=["lower case", "title case", "underscores", "doubled spaces", "quotes", "torchvision"],
)
def test_spellings_of_published_copies(dataset, respell):
    table = label_table(dataset)
    assert [canonical(respell(label), table) for label in table] == list(table)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("activitynet/kinetics-400_val.csv", "kinetics400"),
        ("activitynet/kinetics-600_val.csv", "kinetics600"),
        ("deepmind_k400_validate.csv", "kinetics400"),
        ("deepmind_k400_test.csv", "kinetics400"),
    ],
)
def test_every_label_of_the_real_lists_finds_its_canonical_form(name, dataset, shared_data):
    with (shared_data / "lists" / name).open() as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert {canonical(label, label_table(dataset)) for label in labels} == set(label_table(dataset))
    assert dataset_of(labels) == dataset


@pytest.mark.parametrize("label", ["", "()", "yogaa", "playing", "abseiling yoga"])
def test_other_labels_have_no_canonical_form(label):
    assert canonical(label, label_table("kinetics400")) is None


def test_label_that_two_spellings_share_must_be_exact():
    assert canonical("Yoga", ("Yoga", "yoga")) == "Yoga"
    assert canonical("YOGA", ("Yoga", "yoga")) is None


def test_nearest_names_the_likeliest_first():
    assert nearest("playing gitar", label_table("kinetics400"))[0] == "playing guitar"
    assert nearest("zzzzzz", label_table("kinetics400")) == []


@pytest.mark.parametrize(
    ("labels", "dataset"),
    [
        (["yoga", "Zumba"], "kinetics400"),
        (["yoga", "acting in play"], "kinetics600"),
        (["yoga", "arresting"], "kinetics700"),
        (["brush hair", "wave"], "hmdb51"),
        (["ApplyEyeMakeup", "Yo Yo"], "ucf101"),
        (["yoga", "frisbee golf"], None),
        ([], None),
    ],
)
def test_data_set_of_labels_is_the_smallest_that_has_them(labels, dataset):
    assert dataset_of(labels) == dataset


def test_data_set_of_labels_looks_only_where_it_is_told():
    assert dataset_of(["archery"]) == "ucf101"
    assert dataset_of(["archery"], among=KINETICS) == "kinetics400"


def test_unknown_table_fails():
    with pytest.raises(InvalidInput, match=r"data set 'k400' has no label table; use one of kinetics400, .*hmdb51"):
        label_table("k400")


def test_needs_the_standard_library_only():
    script = "import sys, preprocess.labels as l; l.label_table('ucf101'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.split(".")[0] in {"preprocess", "pipelines", "i3d_train"}}
    assert ours == {"preprocess", "preprocess.errors", "preprocess.labels"}
    assert not {"numpy", "cv2", "av", "h5py", "click"} & set(loaded)


def test_tables_are_installed():
    assert "\npreprocess.labels = *.txt\n" in (Path(__file__).parents[2] / "setup.cfg").read_text()


def test_label_file_is_read_in_its_order(tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffwalk \r\nrun\r\n\n\n".encode())
    assert read_label_file(tmp_path / "labels.txt") == ("walk", "run")


@pytest.mark.parametrize(
    ("text", "message"), [("a\n\nb\n", "line 2: '' is"), ("a\nb\na\n", "line 3: 'a' is"), ("\n", "line 1: '' is")]
)
def test_label_file_with_an_empty_or_repeated_name_fails(tmp_path, text, message):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InvalidInput, match=rf"labels\.txt, {message} empty or repeated"):
        read_label_file(tmp_path / "labels.txt")


def test_label_file_that_is_not_there_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing\.txt cannot be read"):
        read_label_file(tmp_path / "nothing.txt")
