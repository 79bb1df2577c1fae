"""Tests of i3d_train.models."""

import subprocess
import sys

import pytest

from i3d_train.models import MODELS, build, network_class
from preprocess.errors import InvalidInput


@pytest.mark.parametrize("name", MODELS)
def test_every_model_tells_what_a_run_must_know(name):
    network = network_class(name)
    assert network.streams
    assert network.min_frames >= 1
    assert network.head


@pytest.mark.parametrize("name", MODELS)
def test_head_holds_all_that_depends_on_the_classes(name):
    stream = network_class(name).streams[0]
    few, many = (build(name, num_classes=n, stream=stream).state_dict() for n in (3, 7))
    changed = {key for key in few if few[key].shape != many[key].shape}
    assert changed
    assert all(key.startswith(f"{network_class(name).head}.") for key in changed)


def test_unknown_model_fails():
    with pytest.raises(InvalidInput, match=r"model 'i4d' is unknown; use one of i3d"):
        build("i4d", num_classes=2, stream="rgb")


def test_unknown_stream_fails():
    with pytest.raises(InvalidInput, match=r"'i3d' has no stream 'depth'; use one of rgb, flow"):
        build("i3d", num_classes=2, stream="depth")


def test_no_classes_fails():
    with pytest.raises(InvalidInput, match=r"num_classes must be at least 1, got 0"):
        build("i3d", num_classes=0, stream="rgb")


def test_names_need_no_torch():
    code = "import sys, i3d_train.models, i3d_train.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
