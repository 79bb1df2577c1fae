"""Tests of i3d_train.device."""

import logging

import pytest
import torch

from i3d_train import device
from preprocess.errors import EnvironmentProblem

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _gpu_with_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91501)


@pytest.fixture
def gpu_without_bf16(monkeypatch):
    # such as V100 and T4, of which PyTorch says that they have it where emulation counts
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("auto", CPU, "fp32"),
        ("auto", GPU, "bf16"),
        ("fp32", GPU, "fp32"),
        ("bf16", CPU, "bf16"),
        ("fp16", GPU, "fp16"),
    ],
)
def test_precision(name, where, expected):
    assert device.choose_precision(name, where) == expected


@pytest.mark.parametrize(("name", "where", "expected"), [("auto", GPU, "fp16"), ("auto", CPU, "fp32")])
@pytest.mark.usefixtures("gpu_without_bf16")
def test_auto_is_fp16_on_a_gpu_without_bf16(name, where, expected, caplog):
    with caplog.at_level(logging.WARNING):
        assert device.choose_precision(name, where) == expected
    assert not caplog.text


@pytest.mark.parametrize(
    ("precision", "where", "warns"),
    [("bf16", GPU, True), ("fp16", GPU, False), ("fp32", GPU, False), ("bf16", CPU, False)],
)
@pytest.mark.usefixtures("gpu_without_bf16")
def test_bf16_on_a_gpu_without_it_is_warned_of(precision, where, warns, caplog):
    with caplog.at_level(logging.WARNING):
        assert device.choose_precision(precision, where) == precision
    assert ("this GPU cannot compute in bf16" in caplog.text) == warns


@pytest.mark.parametrize(
    ("precision", "version", "warns"),
    [
        ("bf16", 91002, True),
        ("fp16", 91002, True),
        ("bf16", 91500, False),
        ("fp32", 91002, False),
        ("bf16", None, False),
    ],
)
def test_old_cudnn_is_warned_of_when_it_would_compute_in_bf16(precision, version, warns, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    with caplog.at_level(logging.WARNING):
        device.choose_precision(precision, GPU)
    assert ("cuDNN 9.10 is older than 9.15" in caplog.text) == warns


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_precision_is_what_is_computed_in(precision, dtype):
    with device.autocast(CPU, precision):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_memory_is_counted_in_bytes():
    # more than Python and PyTorch, less than a machine
    assert 50 << 20 < device.memory_bytes(CPU) < 1 << 45


def _ask_for_a_petabyte():
    torch.empty(1 << 50, dtype=torch.uint8)


def _out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("allocate", [_ask_for_a_petabyte, _out_of_memory])
@pytest.mark.parametrize(("clips", "told"), [(1, "one clip"), (4, "4 clips")])
def test_memory_that_is_too_small_names_what_would_fit_fails(allocate, clips, told):
    message = rf"the memory of cuda is too small for {told} at a time; use fewer --frames$"
    with (
        pytest.raises(EnvironmentProblem, match=message),
        device.enough_memory(GPU, clips=clips, remedy="fewer --frames"),
    ):
        allocate()


def test_other_errors_are_not_taken_for_memory_fails():
    with pytest.raises(RuntimeError, match=r"shapes"), device.enough_memory(CPU, clips=1, remedy="fewer --frames"):
        torch.ones(2, 3) @ torch.ones(2, 3)
