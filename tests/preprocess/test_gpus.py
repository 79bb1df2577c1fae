import pytest

from preprocess import gpus
from preprocess.errors import EnvironmentProblem, InvalidInput


def test_enough_gpus_pass(monkeypatch):
    monkeypatch.setattr(gpus, "_count_gpus", lambda: (2, ""))
    gpus.require_gpus(2)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((1, ""), "--gpus 2 was asked for, 1 can be used here; use --gpus 1 or --cpus N"),
        ((0, " (no driver)"), r"--gpus 2 was asked for, 0 can be used here \(no driver\); use --cpus N"),
    ],
)
def test_too_few_gpus_fail_at_once(monkeypatch, found, message):
    monkeypatch.setattr(gpus, "_count_gpus", lambda: found)
    with pytest.raises(EnvironmentProblem, match=message):
        gpus.require_gpus(2)


def test_missing_cupy_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EnvironmentProblem, match=r"CuPy is missing: .*pip install 'kineflow\[cuda13\]'"):
        gpus.require_gpus(1)


def test_no_gpus_fail():
    with pytest.raises(InvalidInput, match="must be at least 1, got 0"):
        gpus.require_gpus(0)
