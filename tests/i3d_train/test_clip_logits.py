"""Tests of i3d_train.clip_logits."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from i3d_train.clip_logits import ClipLogits, ViewAverage
from preprocess.errors import InvalidInput
from tests.i3d_train.small_results import CLASSES, answers, random_answers


def test_what_is_written_is_read_back(tmp_path):
    found = random_answers(0)
    found.write(tmp_path / "logits.npz")
    read = ClipLogits.read(tmp_path / "logits.npz")
    assert (read.classes, read.keys) == (found.classes, found.keys)
    assert np.array_equal(read.labels, found.labels)
    assert np.array_equal(read.logits, found.logits)


def test_numbers_of_other_lengths_are_read_as_the_own(tmp_path):
    found = random_answers(0)
    other = replace(found, labels=found.labels.astype(np.int8), logits=found.logits.astype(np.float64))
    other.write(tmp_path / "logits.npz")
    read = ClipLogits.read(tmp_path / "logits.npz")
    assert (read.labels.dtype, read.logits.dtype) == (np.int64, np.float32)
    assert read.scores() == found.scores()


def test_one_view_keeps_the_logits_as_they_are():
    average = ViewAverage(1)
    average.add(["a", "b"], [0, -1], torch.tensor([[1.0, 5.0], [7.0, 2.0]]))
    assert average.result(("x", "y")).logits.tolist() == [[1.0, 5.0], [7.0, 2.0]]


def test_probabilities_of_views_are_averaged_not_logits():
    views = torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    average = ViewAverage(3)
    # the views of a clip may lie in different batches
    average.add(["a", "a"], [1, 1], views[:2])
    average.add(["a"], [1], views[2:])
    logits = torch.from_numpy(average.result(("x", "y")).logits)
    assert torch.allclose(logits.softmax(1)[0], views.softmax(1).mean(0))
    assert logits.exp().sum() == pytest.approx(1)


def test_views_in_short_numbers_are_averaged_in_long_ones():
    views = torch.tensor([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    average = ViewAverage(2)
    average.add(["a", "a"], [1, 1], views.half())
    logits = average.result(("x", "y", "z")).logits
    assert logits.dtype == np.float32
    assert np.allclose(np.exp(logits), views.softmax(1).mean(0), atol=1e-6)


def test_clips_count_once_all_their_views_are_seen():
    average = ViewAverage(2)
    average.add(["a", "a", "b"], [0, 0, 0], torch.zeros(3, 2))
    assert len(average) == 1


def test_labels_and_logits_belong_to_their_clips_however_batches_mix_the_views():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 5)).astype(np.float32)
    average = ViewAverage(2)
    for clip, view in ((1, 0), (0, 0), (2, 0), (0, 1), (2, 1), (1, 1)):
        average.add([f"k{clip}"], [clip - 1], torch.from_numpy(logits[clip, view][None]))
    found = average.result(tuple("abcde"))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    assert (found.keys, found.labels.tolist()) == (("k1", "k0", "k2"), [0, -1, 1])
    assert np.allclose(np.exp(found.logits), probabilities.mean(axis=1)[[1, 0, 2]], atol=1e-6)


def test_clips_with_views_that_could_not_be_read_are_left_out_where_that_is_allowed():
    average = ViewAverage(2)
    average.add(["a", "a", "b"], [0, 0, 0], torch.zeros(3, 2))
    with pytest.raises(InvalidInput, match=r"'b' came 1 times instead of 2"):
        average.result(("x", "y"))
    left = average.result(("x", "y"), partial=True)
    assert (left.keys, left.labels.tolist(), left.logits.shape) == (("a",), [0], (1, 2))


def test_no_whole_clip_fails():
    average = ViewAverage(2)
    average.add(["a"], [0], torch.zeros(1, 2))
    with pytest.raises(InvalidInput, match="no clip has an answer for all of its views"):
        average.result(("x", "y"), partial=True)


def test_losses_are_the_cross_entropy_of_each_clip():
    found = random_answers(3)
    probabilities = np.exp(found.logits) / np.exp(found.logits).sum(axis=1, keepdims=True)
    wanted = [-np.log(row[label]) for row, label in zip(probabilities[:-1], found.labels[:-1], strict=True)]
    assert found.losses()[:-1] == pytest.approx(wanted, rel=1e-5)


def test_loss_of_a_clip_without_a_label_is_nan():
    losses = answers([[0, 0, 0], [1, 2, 3]], [1, -1]).losses()
    assert losses[0] == pytest.approx(np.log(3))
    assert np.isnan(losses[1])


def test_key_that_two_clips_share_fails():
    average = ViewAverage(1)
    average.add(["a", "b", "a"], [0, 0, 1], torch.zeros(3, 2))
    with pytest.raises(InvalidInput, match=r"clip 'a' came 2 times instead of 1 \(1 such clips\)"):
        average.result(("x", "y"))


def test_clips_that_share_a_key_are_not_taken_for_one_whose_views_could_not_be_read_fails():
    average = ViewAverage(2)
    average.add(["a", "b", "b", "a", "b"], [0] * 5, torch.zeros(5, 2))
    with pytest.raises(InvalidInput, match=r"clip 'b' came 3 times instead of 2"):
        average.result(("x", "y"), partial=True)


def test_logit_that_is_not_finite_fails():
    with pytest.raises(InvalidInput, match=r"logits for clip b are not finite; use --precision fp32"):
        ViewAverage(1).add(["a", "b"], [0, 0], torch.tensor([[1.0, 2.0], [torch.inf, 0.0]]))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short", npy(np.zeros(3))])
def test_damaged_file_fails(content, tmp_path):
    (tmp_path / "logits.npz").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"logits .*logits.npz cannot be read"):
        ClipLogits.read(tmp_path / "logits.npz")


def test_objects_are_not_unpickled_fails(tmp_path):
    np.savez(tmp_path / "logits.npz", classes=np.array([{}], dtype=object))
    with pytest.raises(InvalidInput, match=r"cannot be read \(Object arrays cannot be loaded"):
        ClipLogits.read(tmp_path / "logits.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ("a", "a")}, r"has clip 'a' more than once"),
        ({"keys": ("a", "b", "c")}, r"has 3 keys, 3 classes, 2 labels"),
        ({"keys": (("a",), ("b",))}, r"keys is <U1 \[2, 1\]; evaluate again"),
        ({"keys": (), "labels": np.zeros(0, np.int64), "logits": np.zeros((0, 3))}, r"has 0 keys, 3 classes, 0 labels"),
        ({"labels": np.array([0])}, r"has 2 keys, 3 classes, 1 labels"),
        ({"labels": np.array([0, 3])}, r"has labels 0 to 3 for 3 classes"),
        ({"labels": np.array([-2, 1])}, r"has labels -2 to 1 for 3 classes"),
        ({"labels": np.array([0.5, 1.0])}, r"labels is float64 \[2\]"),
        ({"logits": np.full((2, 3), np.nan)}, r"holds logits that are not finite"),
        ({"classes": CLASSES[:2]}, r"2 classes, 2 labels and logits \[2, 3\], which do not belong together"),
    ],
)
def test_parts_that_do_not_fit_fails(changes, message, tmp_path):
    replace(answers([[0, 0, 0], [1, 2, 3]], [1, 2]), **changes).write(tmp_path / "logits.npz")
    with pytest.raises(InvalidInput, match=message):
        ClipLogits.read(tmp_path / "logits.npz")
