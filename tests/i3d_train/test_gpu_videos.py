"""Videos on a GPU: the same logits and features as on the CPU. Needs PyAV."""

from dataclasses import replace

import h5py
import pytest

from i3d_train.features import FeaturesConfig, extract
from i3d_train.predict import PredictConfig, predict
from tests.i3d_train.small_videos import write_video
from tests.i3d_train.small_weights import small_network, write_small
from tests.i3d_train.test_gpu import DEVICE, TOLERANCE

pytestmark = pytest.mark.gpu


@pytest.fixture
def i3d(tmp_path):
    return write_small(tmp_path / "i3d.safetensors", small_network("i3d", stream="rgb"), model="i3d")


def test_prediction_gives_the_logits_of_the_cpu(i3d, tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=20)
    config = PredictConfig(weights=i3d, precision="fp32", top=2)
    (expected,), (found,) = (list(predict([video], replace(config, device=device))) for device in ("cpu", DEVICE))
    assert found.logits_norm == pytest.approx(expected.logits_norm, rel=TOLERANCE["fp32"])
    assert [guess.label for guess in found.guesses] == [guess.label for guess in expected.guesses]


def test_features_are_those_of_the_cpu(i3d, tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=20)
    found = {}
    for device in ("cpu", DEVICE):
        out = tmp_path / f"{device}.h5"
        extract(FeaturesConfig(weights=i3d, out=out, videos=(video,), crop=64, device=device, precision="fp32"))
        with h5py.File(out) as file:
            found[device] = file["step/feature"][:]
    assert found[DEVICE] == pytest.approx(found["cpu"], rel=TOLERANCE["fp32"], abs=TOLERANCE["fp32"])
