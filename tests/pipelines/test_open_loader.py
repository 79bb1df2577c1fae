import logging
import subprocess
import sys

import pytest

import pipelines
from preprocess.errors import EnvironmentProblem, InvalidInput

SMALL = {"frames": 4, "crop": 32, "batch_size": 2, "device": "cpu"}


@pytest.mark.parametrize("module", ["pipelines", "pipelines.sampling", "pipelines.show"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'nvidia.dali'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("backend", "name"), [("auto", "ClipLoader"), ("dali", "ClipLoader"), ("torch", "TorchClipLoader")]
)
def test_open_loader_takes_the_backend(shards, backend, name):
    assert type(pipelines.open_loader(shards, backend=backend, **SMALL)).__name__ == name


@pytest.fixture
def no_dali(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    for name in ("pipelines.dali", "pipelines.dali_graph"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_auto_without_dali_warns_and_takes_torch(shards, no_dali, caplog):
    with caplog.at_level(logging.WARNING):
        loader = pipelines.open_loader(shards, **SMALL)
    assert type(loader).__name__ == "TorchClipLoader"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OpenCV instead of DALI" in caplog.text


def test_dali_without_dali_fails(shards, no_dali):
    with pytest.raises(EnvironmentProblem, match=r"pip install 'kineflow\[cuda13\]'"):
        pipelines.open_loader(shards, backend="dali", **SMALL)


def test_unknown_backend_fails(shards):
    with pytest.raises(InvalidInput, match="backend 'ffmpeg' is unknown; use auto or one of dali, torch"):
        pipelines.open_loader(shards, backend="ffmpeg")


def test_unknown_name_fails():
    with pytest.raises(AttributeError, match="no attribute 'Loder'"):
        _ = pipelines.Loder
