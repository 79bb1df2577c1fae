import numpy as np
import pytest

from preprocess.flow import dequantise, quantise


@pytest.mark.parametrize(
    ("flow", "code"), [(0, 128), (20, 255), (-20, 1), (1000, 255), (-1000, 1), (20 / 127, 129), (-0.07, 128)]
)
def test_codes(flow, code):
    assert quantise(np.array([flow], np.float32)).tolist() == [code]


def test_zero_is_exact():
    assert dequantise(quantise(np.zeros(3, np.float32))).tolist() == [0, 0, 0]


def test_error_is_at_most_half_a_step():
    flow = np.linspace(-20, 20, 10_001, dtype=np.float32)
    assert np.abs(dequantise(quantise(flow)) - flow).max() <= 10 / 127 + 1e-6


def test_mirror_is_exact():
    flow = np.random.default_rng(0).uniform(-30, 30, 1000).astype(np.float32)
    assert np.array_equal(quantise(-flow).astype(int) - 128, 128 - quantise(flow).astype(int))


def test_every_code_comes_back():
    codes = np.arange(1, 256, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(codes)), codes)
    assert dequantise(codes).dtype == np.float32
