"""Tests of i3d_train.losses."""

import math

import numpy as np
import pytest
import torch

from i3d_train.losses import cross_entropy

LABELS = torch.tensor([0, 1])


def test_equal_logits_cost_the_logarithm_of_the_classes():
    assert cross_entropy(torch.zeros(2, 8), LABELS).item() == pytest.approx(math.log(8))


def test_smoothing_is_towards_all_classes():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    parts = logits.log_softmax(1)
    target = torch.tensor([[0.95, 0.05], [0.05, 0.95]])
    expected = -(target * parts).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, LABELS, smoothing=0.1), expected)


def test_without_smoothing_it_is_the_logarithm_of_the_right_classes_share():
    logits = np.random.default_rng(0).normal(size=(2, 5))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = cross_entropy(torch.tensor(logits), LABELS).item()
    assert found == pytest.approx(-np.log([shares[0, 0], shares[1, 1]]).mean())


def test_answers_at_each_time_step_count_alike():
    logits_BKT = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    each = [cross_entropy(logits_BKT[:, :, t], LABELS) for t in range(4)]
    torch.testing.assert_close(cross_entropy(logits_BKT, LABELS), torch.stack(each).mean())


def test_bf16_is_summed_in_float32():
    assert cross_entropy(torch.zeros(2, 8, dtype=torch.bfloat16), LABELS).dtype == torch.float32
