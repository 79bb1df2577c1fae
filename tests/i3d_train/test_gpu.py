"""Networks on a GPU: the same losses and logits as on the CPU, as far as the precision allows.

They need neither DALI nor PyAV; those of videos are in test_gpu_videos.py.
"""

from dataclasses import replace

import pytest
import torch

from i3d_train import checkpoint
from i3d_train.clip_logits import LOGITS_NAME, ClipLogits
from i3d_train.device import autocast
from i3d_train.evaluate import EvaluateConfig, evaluate
from i3d_train.models import MODELS, streams_of
from i3d_train.models.network import STREAM_CHANNELS
from i3d_train.train import train
from tests.i3d_train.small_weights import small_network, write_small
from tests.i3d_train.test_train import losses, stopped_after

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
TOLERANCE = {"fp32": 0.01, "bf16": 0.05, "fp16": 0.05}
"""Relative, of losses and logits. cuDNN's convolutions of float32 round to TF32, 10 bits as fp16 has."""


@pytest.fixture
def plain(config):
    """A run whose numbers do not depend on where random ones are drawn, of a network that rounding hardly moves.

    An untrained I3D will not do: on four tiny clips two runs on one CPU differ by a third after three steps when only
    the layout in memory does.
    """
    return replace(config, dropout=0.0, validate_every=0)


@pytest.fixture
def on_cpu(plain, tmp_path):
    train(replace(plain, out=tmp_path / "cpu"))
    return losses(tmp_path / "cpu")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_losses_are_those_of_the_cpu(plain, on_cpu, precision, channels_last):
    train(replace(plain, device=DEVICE, precision=precision, channels_last=channels_last))
    assert losses(plain.out) == pytest.approx(on_cpu, rel=TOLERANCE[precision])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", TOLERANCE)
def test_every_network_gives_the_logits_that_it_gives_on_the_cpu(name, precision):
    stream = streams_of(name)[-1]
    network = small_network(name, stream=stream)
    side, frames = (97 if name == "c3d" else 64), {"rgb": 16, "flow": 20}
    x = {one: torch.rand(2, count, frames[one], side, side) * 2 - 1 for one, count in STREAM_CHANNELS.items()}
    if name in {"two_stream", "fused"}:
        x["rgb"] = x["rgb"][:, :, : frames["flow"] // 10]
    else:
        x = {one: clip[:, :, :16] for one, clip in x.items()}
    device = torch.device(DEVICE)
    with torch.inference_mode():
        expected = network(x)
        with autocast(device, precision):
            found = network.to(device)({one: clip.to(device) for one, clip in x.items()}).float().cpu()
    assert (found - expected).norm() < TOLERANCE[precision] * expected.norm()


def test_cutting_steps_into_parts_changes_nothing(plain, tmp_path):
    whole = replace(plain, device=DEVICE, precision="fp32")
    # BatchNorm sees a part at a time
    whole = replace(whole, freeze_bn=True)
    train(whole)
    train(replace(whole, accumulate=2, out=tmp_path / "parts"))
    assert losses(tmp_path / "parts") == pytest.approx(losses(plain.out), rel=TOLERANCE["fp32"])


def test_stopped_run_goes_on_as_if_it_had_not(config, tmp_path):
    """With the dropout of a GPU, whose random state a checkpoint holds too."""
    config = replace(config, device=DEVICE, precision="fp32", validate_every=0)
    train(replace(config, out=tmp_path / "whole"))
    stopped_after(config, 3)
    train(replace(config, resume=True))
    assert losses(config.out) == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_checkpoint_of_a_gpu_is_read_without_one(plain):
    train(replace(plain, device=DEVICE))
    saved = checkpoint.load(checkpoint.checkpoint_path(plain.out, 6))
    assert {tensor.device for tensor in saved.model.values()} == {torch.device("cpu")}


def test_memory_is_measured(plain):
    seen = []
    train(replace(plain, device=DEVICE), observe=seen.append)
    assert min(event.memory_bytes for event in seen if hasattr(event, "memory_bytes")) > 1 << 20


def test_evaluation_gives_the_logits_of_the_cpu(shards, tmp_path):
    i3d = write_small(tmp_path / "i3d.safetensors", small_network("i3d", stream="rgb"), model="i3d")
    config = EvaluateConfig(shards=shards, weights=i3d, frames=9, crop=32, batch_size=2, loader="torch", threads=1)
    found = {}
    for device in ("cpu", DEVICE):
        evaluate(replace(config, device=device, precision="fp32", out=tmp_path / device))
        found[device] = ClipLogits.read(tmp_path / device / LOGITS_NAME)
    assert found[DEVICE].logits == pytest.approx(found["cpu"].logits, rel=TOLERANCE["fp32"], abs=TOLERANCE["fp32"])
    assert found[DEVICE].keys == found["cpu"].keys
