"""The GPUs of this machine, where NVIDIA's management library and its Python package are: how busy, how full.

The package, `nvidia-ml-py`, is optional. Without it, or without a driver, there are no such metrics.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("gpu", "uuid", "model")

GPU_METRICS: dict[str, tuple[str, Callable[[Any, Any], float]]] = {
    "kineflow_gpu_utilization_ratio": (
        "Share of the last sampling period in which a kernel ran on the GPU, 0 to 1.",
        lambda nvml, device: nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
    ),
    "kineflow_gpu_memory_used_bytes": (
        "Memory of the GPU that is taken, by whomever.",
        lambda nvml, device: nvml.nvmlDeviceGetMemoryInfo(device).used,
    ),
    "kineflow_gpu_memory_size_bytes": (
        "Memory that the GPU has.",
        lambda nvml, device: nvml.nvmlDeviceGetMemoryInfo(device).total,
    ),
}
"""Name to meaning, and how to ask for the value."""

logger = logging.getLogger(__name__)


class GpuCollector(Collector):
    """The metrics of all GPUs of this machine; what a GPU does not tell, such as a part of one, is left out."""

    def collect(self) -> Iterator[Metric]:
        """For a registry."""
        devices = list(self._devices())
        for name, (meaning, ask) in GPU_METRICS.items():
            family = GaugeMetricFamily(name, meaning, labels=_LABELS)
            for labels, device in devices:
                try:
                    family.add_metric(labels, ask(self._nvml, device))
                except self._nvml.NVMLError as error:
                    logger.debug("GPU %s does not tell %s: %s", labels[0], name, error)
            yield family

    def _devices(self) -> Iterator[tuple[list[str], Any]]:
        nvml = self._nvml
        if nvml is None:
            return
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            logger.debug("no GPU metrics: %s", error)
            return
        for number in range(count):
            try:
                device = nvml.nvmlDeviceGetHandleByIndex(number)
                yield [str(number), nvml.nvmlDeviceGetUUID(device), nvml.nvmlDeviceGetName(device)], device
            except nvml.NVMLError as error:
                logger.debug("GPU %d does not answer: %s", number, error)

    @cached_property
    def _nvml(self) -> Any:
        try:
            nvml = import_module("pynvml")
        except ImportError as error:
            logger.info("no GPU metrics: %s; pip install nvidia-ml-py", error)
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            logger.info("no GPU metrics: %s", error)
            return None
        return nvml
