# ruff: noqa: N802  the names are those of pynvml
import logging
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from preprocess.metrics.gpu_metrics import GPU_METRICS, GpuCollector
from tests.preprocess.metrics.statuses import read


class NVMLError(Exception):
    """As of pynvml."""


@dataclass
class FakeGpu:
    """What a GPU would say; None is an error."""

    busy_percent: int | None = 40
    used_bytes: int = 5 << 30
    answers: bool = True


class FakeNvml(ModuleType):
    """The part of pynvml that is used; the real one has not run here."""

    NVMLError = NVMLError

    def __init__(self, gpus, *, has_driver=True):
        super().__init__("pynvml")
        self.gpus = gpus
        self.has_driver = has_driver
        self.is_lost = False

    def nvmlInit(self):
        if not self.has_driver:
            raise NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self):
        if self.is_lost:
            raise NVMLError("Driver Not Loaded")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):
        if not self.gpus[number].answers:
            raise NVMLError("GPU is lost")
        return number

    def nvmlDeviceGetUUID(self, number):
        return f"GPU-{number}"

    def nvmlDeviceGetName(self, number):
        return "NVIDIA H200"

    def nvmlDeviceGetUtilizationRates(self, number):
        if self.gpus[number].busy_percent is None:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=self.gpus[number].busy_percent, memory=99)

    def nvmlDeviceGetMemoryInfo(self, number):
        return SimpleNamespace(total=141 << 30, used=self.gpus[number].used_bytes, free=0)


@pytest.fixture
def values(monkeypatch):
    """The metrics with a management library that knows these GPUs."""

    def call(nvml):
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        registry = CollectorRegistry()
        registry.register(GpuCollector())
        return read(generate_latest(registry))

    return call


def test_each_gpu_tells_how_busy_and_how_full_it_is(values):
    found = values(FakeNvml([FakeGpu(), FakeGpu(busy_percent=100, used_bytes=0)]))
    first, second = ("0", "NVIDIA H200", "GPU-0"), ("1", "NVIDIA H200", "GPU-1")
    assert found["kineflow_gpu_utilization_ratio", *first] == 0.4
    assert found["kineflow_gpu_utilization_ratio", *second] == 1.0
    assert found["kineflow_gpu_memory_used_bytes", *first] == 5 << 30
    assert found["kineflow_gpu_memory_size_bytes", *second] == 141 << 30
    assert {name for name, *_ in found} == GPU_METRICS.keys()


def test_what_a_part_of_a_gpu_does_not_tell_is_left_out(values):
    names = {name for name, *_ in values(FakeNvml([FakeGpu(busy_percent=None)]))}
    assert names == GPU_METRICS.keys() - {"kineflow_gpu_utilization_ratio"}


def test_a_lost_gpu_costs_the_others_nothing(values):
    found = values(FakeNvml([FakeGpu(answers=False), FakeGpu()]))
    assert {number for _, number, *_ in found} == {"1"}


def test_a_driver_that_goes_away_costs_nothing_but_these_metrics(values):
    nvml = FakeNvml([FakeGpu()])
    assert values(nvml)
    nvml.is_lost = True
    assert values(nvml) == {}


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [(None, "pip install nvidia-ml-py"), (FakeNvml([FakeGpu()], has_driver=False), "NVML Shared Library Not Found")],
)
def test_without_library_or_driver_there_are_none(values, nvml, reason, caplog):
    caplog.set_level(logging.INFO)
    assert values(nvml) == {}
    assert reason in caplog.text
