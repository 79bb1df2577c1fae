"""Tests of i3d_train.scoring."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from i3d_train.clip_logits import ClipLogits
from i3d_train.confusion import Confusion
from i3d_train.data import open_batches
from i3d_train.models import build
from i3d_train.results import Results
from i3d_train.scoring import Scores, answers, ranked, score
from preprocess.errors import EnvironmentProblem
from tests.i3d_train.small_results import TRIAL
from tests.i3d_train.small_shards import opened
from tests.i3d_train.small_weights import small_network

CPU = torch.device("cpu")


@pytest.fixture
def val(config):
    config = replace(config, batch_size=2)
    return open_batches(config, opened(config, "val"), training=False, device=CPU)


def test_top1_and_top5():
    logits = torch.arange(10.0).repeat(4, 1)
    scores = Scores()
    scores.add(logits, torch.tensor([9, 5, 4, 0]))
    assert (scores.top1, scores.top5) == (0.25, 0.5)


def test_logits_that_are_no_numbers_are_right_about_nothing():
    scores = Scores()
    scores.add(torch.tensor([[torch.nan, 0], [0, torch.inf], [0, 1]]), torch.tensor([0, 1, 1]))
    assert (scores.top1, scores.top5) == (1 / 3, 1 / 3)


def test_loss_is_the_mean_over_clips_of_all_batches():
    logits = torch.randn(5, 3)
    labels = torch.tensor([0, 1, 2, 0, 1])
    scores = Scores()
    scores.add(logits[:4], labels[:4])
    scores.add(logits[4:], labels[4:])
    assert scores.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_loss_of_short_numbers_is_computed_in_long_ones():
    logits, labels = torch.randn(50, 400).bfloat16(), torch.arange(50)
    scores = Scores()
    scores.add(logits, labels)
    wanted = torch.nn.functional.cross_entropy(logits.double(), labels)
    assert scores.loss == pytest.approx(float(wanted), rel=1e-5)


def test_of_equal_logits_the_first_class_is_the_answer_everywhere():
    found = ClipLogits(
        classes=tuple(map(str, range(20))),
        keys=("a", "b"),
        labels=np.array([0, 5]),
        logits=np.ones((2, 20), dtype=np.float32),
    )
    assert ranked(torch.from_numpy(found.logits)).tolist() == [list(range(20))] * 2
    results = Results.of(TRIAL, found, most_wrong=5)
    assert (results.top1, results.top5) == (0.5, 0.5)
    assert [(clip.key, clip.answer) for clip in results.most_wrong] == [("b", "0")]
    assert Confusion.of(found).worst_pairs(5) == [("5", "0", 1)]


def test_classes_are_counted_apart():
    scores = Scores()
    scores.add(torch.eye(6)[[0, 1, 1]], torch.tensor([0, 0, 1]))
    assert (scores.classes[0].clips, scores.classes[0].top1, scores.classes[1].top1) == (2, 1, 1)


def test_counts_of_each_class_go_on_over_batches():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 9)).astype(np.float32), rng.integers(-1, 8, 60)
    scores = Scores()
    for part in (slice(0, 25), slice(25, 30), slice(30, 60)):
        scores.add(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    rank = np.array([(row > row[label]).sum() for row, label in zip(logits, labels, strict=True)])
    assert {k: (one.clips, one.top1, one.top5) for k, one in scores.classes.items()} == {
        k: ((labels == k).sum(), (rank[labels == k] < 1).sum(), (rank[labels == k] < 5).sum()) for k in range(8)
    }
    assert scores.mean_class == pytest.approx(np.mean([(rank[labels == k] < 1).mean() for k in range(8)]))
    assert scores.unlabelled == (labels < 0).sum() == 60 - scores.clips


def test_clips_without_a_label_count_nowhere_else():
    scores = Scores()
    scores.add(torch.eye(6)[[0, 1]], torch.tensor([0, -1]))
    assert (scores.clips, scores.unlabelled, scores.top1) == (1, 1, 1.0)


def test_two_classes_have_a_top5():
    scores = Scores()
    scores.add(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    assert (scores.top1, scores.top5) == (0.0, 1.0)


def test_answers_come_in_natural_order_with_a_short_last_batch(val, tiny):
    network = build(tiny, num_classes=2, stream="rgb")
    batches = list(answers(network, val, device=CPU, precision="fp32"))
    assert [answer.keys for answer in batches] == [["val0", "val1"], ["val2"]]
    assert [tuple(answer.logits.shape) for answer in batches] == [(2, 2), (1, 2)]


def test_logits_have_more_digits_than_the_network_computes_with(val):
    (first, _) = answers(small_network("i3d", stream="rgb"), val, device=CPU, precision="bf16")
    assert not torch.equal(first.logits, first.logits.bfloat16().float())


def test_memory_that_is_too_small_for_a_batch_fails(val, tiny):
    network = build(tiny, num_classes=2, stream="rgb")
    full = torch.OutOfMemoryError("CUDA out of memory")
    message = r"too small for 2 clips at a time; use a smaller --batch-size, or fewer --frames"
    with patch.object(network, "forward", side_effect=full), pytest.raises(EnvironmentProblem, match=message):
        list(answers(network, val, device=CPU, precision="fp32"))


def test_scoring_leaves_the_running_averages_and_the_mode_alone(val, tiny):
    network = build(tiny, num_classes=2, stream="rgb").train()
    before = network.state_dict()["bn.running_mean"].clone()
    score(network, val, device=CPU, precision="fp32", scored=lambda done: None)
    assert network.training
    assert torch.equal(network.state_dict()["bn.running_mean"], before)


def test_progress_is_told_after_each_batch(val, tiny):
    done: list[int] = []
    # of the first two, one has no label
    batches = [batch | {"label": torch.tensor([-1, 1])[: len(batch["key"])]} for batch in val]
    score(build(tiny, num_classes=2, stream="rgb"), batches, device=CPU, precision="fp32", scored=done.append)
    assert done == [2, 3]
